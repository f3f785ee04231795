//! Few constant maps that stand for many: every one of them is a weighted sum of those that are kept. Gram and Schmidt's
//! method, twice for each map, in f64.

/// A remainder this much smaller than the map is rounding.
const NEGLIGIBLE: f64 = 1e-11;
/// Larger factors would cancel each other, and the rounding of f32 weights would show.
const LARGEST_FACTOR: f64 = 64.0;

/// Maps of one size that are not sums of each other.
#[derive(Debug, Default)]
pub(super) struct Basis {
    /// Names of the members, and lengths of their maps.
    members: Vec<(usize, f64)>,
    /// Orthonormal maps, and each as a sum of members.
    directions: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Basis {
    /// Adds `map` under the name `member`; one that is a sum of others, however badly, needs no direction of its own.
    pub(super) fn extend(&mut self, member: usize, map: &[f64]) {
        let (rest, along) = self.project(map);
        let (length, remainder) = (norm(map), norm(&rest));
        self.members.push((member, length));
        for (_, factors) in &mut self.directions {
            factors.push(0.0);
        }
        if remainder > NEGLIGIBLE * length {
            let mut factors = vec![0.0; self.members.len()];
            for (share, (_, of_members)) in along.iter().zip(&self.directions) {
                subtract(&mut factors, of_members, *share);
            }
            if let Some(own) = factors.last_mut() {
                *own += 1.0;
            }
            let unit = |values: Vec<f64>| values.into_iter().map(|value| value / remainder).collect();
            self.directions.push((unit(rest), unit(factors)));
        }
    }

    /// The members and factors whose sum is `map`; `None` if there is no such sum, or none that is harmless to rounding.
    pub(super) fn factors(&self, map: &[f64]) -> Option<Vec<(usize, f64)>> {
        let (rest, along) = self.project(map);
        let length = norm(map);
        let mut sum = vec![0.0; self.members.len()];
        for (share, (_, of_members)) in along.iter().zip(&self.directions) {
            subtract(&mut sum, of_members, -share);
        }
        let factors = self.members.iter().zip(sum);
        let harmless = factors
            .clone()
            .all(|((_, of_member), factor)| factor.abs() * of_member <= LARGEST_FACTOR * length);
        let used =
            factors.map(|((member, _), factor)| (*member, factor)).filter(|(_, factor)| *factor != 0.0);
        (norm(&rest) <= NEGLIGIBLE * length && harmless).then(|| used.collect())
    }

    /// What is left of `map` without the directions, and its share of each.
    fn project(&self, map: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut rest = map.to_vec();
        let mut along = vec![0.0; self.directions.len()];
        for _ in 0..2 {
            for (total, (direction, _)) in along.iter_mut().zip(&self.directions) {
                let share: f64 = rest.iter().zip(direction).map(|(a, b)| a * b).sum();
                subtract(&mut rest, direction, share);
                *total += share;
            }
        }
        (rest, along)
    }
}

fn subtract(values: &mut [f64], others: &[f64], factor: f64) {
    for (value, other) in values.iter_mut().zip(others) {
        *value -= factor * other;
    }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_in_the_span_is_a_sum_of_the_members() {
        let mut basis = Basis::default();
        basis.extend(4, &[1.0, 1.0, 1.0]);
        basis.extend(7, &[0.0, 2.0, 2.0]);
        basis.extend(9, &[1.0, 3.0, 3.0]);
        let factors = basis.factors(&[3.0, 1.0, 1.0]).unwrap();
        let (names, values): (Vec<usize>, Vec<f64>) = factors.into_iter().unzip();
        assert_eq!(names, [4, 7]);
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] + 1.0).abs() < 1e-12, "{values:?}");
    }

    #[test]
    fn a_map_outside_of_the_span_has_no_sum() {
        let mut basis = Basis::default();
        assert_eq!(basis.factors(&[1.0, 0.0]), None);
        basis.extend(0, &[1.0, 1.0]);
        assert_eq!(basis.factors(&[1.0, 0.0]), None);
    }

    #[test]
    fn a_sum_that_would_cancel_is_refused() {
        let mut basis = Basis::default();
        basis.extend(0, &[1.0, 1.0]);
        basis.extend(1, &[1.0, 1.0 + 1e-6]);
        assert_eq!(basis.factors(&[0.0, 1.0]), None);
    }
}
