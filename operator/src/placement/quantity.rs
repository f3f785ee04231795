//! Reads Kubernetes quantities (`500m`, `1Gi`, `2e3`) as far as comparing needs it. Pure.
//! Grammar: k8s.io/apimachinery/pkg/api/resource, "Quantity".

/// The quantity in base units: CPUs, bytes.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent if exponent.starts_with(['e', 'E']) => return text.parse().ok(),
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_kubernetes_is_read() {
        let read = ["500m", "2", "1.5", "1Gi", "64Mi", "2e3", "100k", "x", "1Q"].map(parse);
        let expected = [
            Some(0.5),
            Some(2.0),
            Some(1.5),
            Some(1_073_741_824.0),
            Some(67_108_864.0),
            Some(2000.0),
            Some(1e5),
            None,
            None,
        ];
        assert_eq!(read, expected);
    }
}
