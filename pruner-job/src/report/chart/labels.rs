//! Where the labels of a chart's dots stand: beside them if there is room, else as near as no other label or dot is in the way.
//! Pure.

/// A dot in pixels, and what stands beside it.
pub(super) struct Dot<'a> {
    pub(super) across: f64,
    pub(super) down: f64,
    /// Empty if it has none.
    pub(super) label: &'a str,
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// A label that has its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Label<'a> {
    pub(super) text: &'a str,
    pub(super) area: Area,
    /// From the dot to the label, where it is not beside it.
    pub(super) line: Option<[(f64, f64); 2]>,
}

/// What a letter takes at most on average, and a line of them, in a font of 12 pixels.
const LETTER: f64 = 7.0;
const HEIGHT: f64 = 14.0;
/// A dot and its edge.
const RADIUS: f64 = 5.0;
/// From the middle of a dot to a label beside it.
const BESIDE: f64 = 7.0;
/// How much farther away is tried next, and how often: across the whole chart.
const FARTHER: f64 = 10.0;
const RINGS: u32 = 40;
/// In which directions a label may stand, the best first.
const DIRECTIONS: [(f64, f64); 8] =
    [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0), (0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0)];

/// Places the labels of `dots` within `bounds`, so that no two meet and none covers a dot. One for which there is no room at all is
/// left out.
pub(super) fn placed<'a>(dots: &[Dot<'a>], bounds: Area) -> Vec<Label<'a>> {
    let mut labels: Vec<Label<'a>> = Vec::new();
    for dot in dots.iter().filter(|dot| !dot.label.is_empty()) {
        let is_free = |area: &Area| {
            area.is_within(&bounds)
                && !labels.iter().any(|label| label.area.meets(area))
                && !dots.iter().any(|dot| dot.area().meets(area))
        };
        let places = (0..RINGS).flat_map(|ring| DIRECTIONS.map(|direction| dot.beside(ring, direction)));
        labels.extend(places.into_iter().find(|label| is_free(&label.area)));
    }
    labels
}

impl<'a> Dot<'a> {
    fn area(&self) -> Area {
        Area {
            left: self.across - RADIUS,
            top: self.down - RADIUS,
            right: self.across + RADIUS,
            bottom: self.down + RADIUS,
        }
    }

    fn beside(&self, ring: u32, (to_right, to_bottom): (f64, f64)) -> Label<'a> {
        let width = self.label.chars().count() as f64 * LETTER;
        let distance = BESIDE + FARTHER * f64::from(ring);
        let middle = self.across + to_right * (distance + width / 2.0);
        let level = self.down + to_bottom * (distance + HEIGHT / 2.0 - 2.0);
        let area = Area {
            left: middle - width / 2.0,
            top: level - HEIGHT / 2.0,
            right: middle + width / 2.0,
            bottom: level + HEIGHT / 2.0,
        };
        let end = (self.across.clamp(area.left, area.right), self.down.clamp(area.top, area.bottom));
        let line = (ring > 0).then_some([(self.across, self.down), end]);
        Label { text: self.label, area, line }
    }
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn is_within(&self, other: &Self) -> bool {
        self.left >= other.left
            && self.right <= other.right
            && self.top >= other.top
            && self.bottom <= other.bottom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Area = Area { left: 70.0, top: 16.0, right: 490.0, bottom: 314.0 };

    #[test]
    fn a_dot_that_is_alone_has_its_label_beside_it() {
        let labels = placed(&[Dot { across: 200.0, down: 100.0, label: "macs-50" }], BOUNDS);
        assert_eq!(labels.len(), 1);
        assert_eq!((labels[0].area.left, labels[0].line), (207.0, None));
        let labels = placed(&[Dot { across: 488.0, down: 312.0, label: "macs-50" }], BOUNDS);
        assert!(labels[0].area.is_within(&BOUNDS), "{:?}", labels[0].area);
    }

    #[test]
    fn labels_of_dots_that_are_close_meet_neither_each_other_nor_a_dot() {
        let dot = |number: u32| Dot {
            across: 100.0 + f64::from(number % 4) * 3.0,
            down: 60.0 + f64::from(number / 4) * 4.0,
            label: if number == 5 { "" } else { "step 3, not chosen" },
        };
        let dots: Vec<Dot<'_>> = (0..12).map(dot).collect();
        let labels = placed(&dots, BOUNDS);
        assert_eq!(labels.len(), 11);
        for (number, label) in labels.iter().enumerate() {
            assert!(label.area.is_within(&BOUNDS));
            assert!(labels.iter().skip(number + 1).all(|other| !other.area.meets(&label.area)));
            assert!(dots.iter().all(|dot| !dot.area().meets(&label.area)));
        }
        assert!(labels.iter().any(|label| label.line.is_some()), "some are far");
    }
}
