//! A tree that divides rows by where they are: the k-d tree (Bentley, 1975) and the ball tree (Omohundro, 1989) as
//! scikit-learn stores them. It is read, never built: which of equally near rows are found depends on it.

use super::{Nearest, Search};

/// A region of the tree. The regions inside region `i` are `2i + 1` and `2i + 2`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Where its rows start and end in the order of the tree.
    pub start: u32,
    pub end: u32,
    pub is_leaf: bool,
    /// The radius of a ball.
    pub radius: f64,
}

/// Where the regions are, row-major by region.
#[derive(Debug)]
pub(crate) enum Regions {
    /// The least and the largest value of each column.
    Boxes { least: Vec<f64>, largest: Vec<f64> },
    /// The centres of balls.
    Balls { centres: Vec<f64> },
}

/// Regions of rows, each of which but the leaves is divided in two.
#[derive(Debug)]
pub(crate) struct Tree {
    order: Vec<u32>,
    nodes: Vec<Node>,
    regions: Regions,
}

impl Tree {
    /// A tree of `rows` rows of `width` values.
    ///
    /// # Errors
    /// When an index is beyond what it counts, or there are not as many bounds as regions.
    pub(crate) fn new(
        order: Vec<u32>,
        nodes: Vec<Node>,
        regions: Regions,
        rows: usize,
        width: usize,
    ) -> Result<Self, String> {
        let mut met = vec![false; rows];
        let is_new = |row: &u32| met.get_mut(*row as usize).is_some_and(|met| !std::mem::replace(met, true));
        if order.len() != rows || !order.iter().all(is_new) {
            return Err(format!("its order is not one of {rows} rows"));
        }
        let expected = nodes.len() * width;
        let bounds = match &regions {
            Regions::Boxes { least, largest } => [least.len(), largest.len()],
            Regions::Balls { centres } => [centres.len(); 2],
        };
        if nodes.is_empty() || bounds != [expected; 2] {
            return Err(format!("has bounds of {bounds:?} values for {} regions of {width} columns", nodes.len()));
        }
        for (i, node) in nodes.iter().enumerate() {
            if node.start > node.end || node.end as usize > rows {
                return Err(format!("region {i} holds the rows {} to {} of {rows}", node.start, node.end));
            }
            if !node.is_leaf && 2 * i + 2 >= nodes.len() {
                return Err(format!("region {i} of {} is divided", nodes.len()));
            }
        }
        for (i, node) in nodes.iter().enumerate().filter(|(_, node)| !node.is_leaf) {
            // a row in many regions would be looked at as often
            let (first, second) = (nodes[2 * i + 1], nodes[2 * i + 2]);
            if [first.start, first.end, second.end] != [node.start, second.start, node.end] {
                return Err(format!("region {i} is not divided into the two inside of it"));
            }
        }
        Ok(Self { order, nodes, regions })
    }

    /// Offers the rows to `nearest`, those of near regions first.
    pub(super) fn nearest(&self, search: &Search, row: &[f64], nearest: &mut Nearest) {
        self.visit_nearest(search, row, 0, self.least_rank(search, row, 0), nearest);
    }

    /// The tree is as deep as a heap of its regions, so that the calls are bounded by the number of bits of that.
    fn visit_nearest(&self, search: &Search, row: &[f64], at: usize, least: f64, nearest: &mut Nearest) {
        if least > nearest.farthest() {
            return;
        }
        if self.nodes[at].is_leaf {
            self.rows_of(at).for_each(|i| nearest.push(search.rank(row, i), i));
            return;
        }
        let inside = [2 * at + 1, 2 * at + 2].map(|inner| (inner, self.least_rank(search, row, inner)));
        let [(first, first_least), (second, second_least)] =
            if inside[0].1 <= inside[1].1 { inside } else { [inside[1], inside[0]] };
        self.visit_nearest(search, row, first, first_least, nearest);
        self.visit_nearest(search, row, second, second_least, nearest);
    }

    /// Names the rows within `radius`: all of those of a region that lies within it, and of a leaf that reaches into it
    /// those whose rank is at most that of the radius.
    pub(super) fn within(&self, search: &Search, row: &[f64], radius: f64, meet: &mut dyn FnMut(usize)) {
        self.visit_within(search, row, 0, [radius, search.metric.rank_of(radius)], meet);
    }

    fn visit_within(&self, search: &Search, row: &[f64], at: usize, radius: [f64; 2], meet: &mut dyn FnMut(usize)) {
        let [least, largest] = self.distances(search, row, at);
        if least > radius[0] {
            return;
        }
        if largest <= radius[0] {
            self.rows_of(at).for_each(meet);
        } else if self.nodes[at].is_leaf {
            self.rows_of(at).filter(|i| search.rank(row, *i) <= radius[1]).for_each(meet);
        } else {
            self.visit_within(search, row, 2 * at + 1, radius, meet);
            self.visit_within(search, row, 2 * at + 2, radius, meet);
        }
    }

    fn rows_of(&self, at: usize) -> impl Iterator<Item = usize> {
        let node = self.nodes[at];
        self.order[node.start as usize..node.end as usize].iter().map(|row| *row as usize)
    }

    /// The least rank that a row of a region can have.
    fn least_rank(&self, search: &Search, row: &[f64], at: usize) -> f64 {
        let bounds = at * row.len()..(at + 1) * row.len();
        match &self.regions {
            Regions::Boxes { least, largest } => {
                let sides = sides(row, &least[bounds.clone()], &largest[bounds]);
                search.metric.rank_of_sides(sides.map(|[outside, _]| outside))
            }
            Regions::Balls { .. } => search.metric.rank_of(self.distances(search, row, at)[0]),
        }
    }

    /// The least and the largest distance that a row of a region can have.
    fn distances(&self, search: &Search, row: &[f64], at: usize) -> [f64; 2] {
        let (metric, bounds) = (&search.metric, at * row.len()..(at + 1) * row.len());
        match &self.regions {
            Regions::Boxes { least, largest } => [0, 1].map(|end| {
                let sides = sides(row, &least[bounds.clone()], &largest[bounds.clone()]);
                metric.distance(metric.rank_of_sides(sides.map(|sides| sides[end])))
            }),
            Regions::Balls { centres } => {
                let to_centre = metric.distance(metric.rank(row, &centres[bounds]));
                let radius = self.nodes[at].radius;
                [(to_centre - radius).max(0.0), to_centre + radius]
            }
        }
    }
}

/// How far a row is outside of a box, and from its far side, in each column.
fn sides(row: &[f64], least: &[f64], largest: &[f64]) -> impl Iterator<Item = [f64; 2]> {
    row.iter().zip(least.iter().zip(largest)).map(|(x, (least, largest))| {
        let (below, above) = (least - x, x - largest);
        [0.5 * ((below + below.abs()) + (above + above.abs())), below.abs().max(above.abs())]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Metric;

    fn leaf(start: u32, end: u32) -> Node {
        Node { start, end, is_leaf: true, radius: 1.0 }
    }

    fn of_two(nodes: Vec<Node>, order: Vec<u32>) -> Result<Tree, String> {
        let regions = Regions::Boxes { least: vec![0.0, 0.0, 3.0], largest: vec![4.0, 1.0, 4.0] };
        Tree::new(order, nodes, regions, 4, 1)
    }

    #[test]
    fn of_equally_near_rows_the_first_in_the_order_of_the_tree_is_found() {
        let root = Node { is_leaf: false, ..leaf(0, 4) };
        let tree = of_two(vec![root, leaf(0, 2), leaf(2, 4)], vec![1, 0, 3, 2]).unwrap();
        let rows = vec![1.0, 1.0, 3.0, 4.0];
        let search = Search { width: 1, rows, metric: Metric::Euclidean, tree: Some(tree) };
        assert_eq!(search.nearest(&[1.0], 1), [(0.0, 1)]);
        // both regions are equally far from 2
        assert_eq!(search.nearest(&[2.0], 1), [(1.0, 1)]);
        assert_eq!(search.nearest(&[9.0], 2), [(5.0, 3), (6.0, 2)]);
        assert_eq!(search.within(&[2.0], 1.0), [(1.0, 1), (1.0, 0), (1.0, 2)]);
        assert_eq!(search.nearest(&[2.0], 9).len(), 4);
    }

    #[test]
    fn what_counts_beyond_its_rows_or_regions_is_refused() {
        let root = Node { is_leaf: false, ..leaf(0, 4) };
        let nodes = || vec![root, leaf(0, 2), leaf(2, 4)];
        assert!(of_two(nodes(), vec![1, 0, 3, 4]).unwrap_err().contains("order"));
        assert!(of_two(nodes(), vec![1, 0, 3]).unwrap_err().contains("order"));
        assert!(of_two(vec![root, root, leaf(2, 4)], vec![0, 1, 2, 3]).unwrap_err().contains("region 1 of 3"));
        assert!(of_two(vec![root, leaf(3, 2), leaf(2, 4)], vec![0, 1, 2, 3]).unwrap_err().contains("rows 3 to 2"));
        assert!(of_two(vec![root, leaf(0, 2), leaf(2, 5)], vec![0, 1, 2, 3]).unwrap_err().contains("2 to 5"));
        assert!(of_two(nodes(), vec![1, 0, 0, 2]).unwrap_err().contains("order"));
        assert!(of_two(vec![root, leaf(0, 4), leaf(0, 4)], vec![0, 1, 2, 3]).unwrap_err().contains("not divided"));
        assert!(of_two(vec![leaf(0, 4)], vec![0, 1, 2, 3]).unwrap_err().contains("bounds"));
    }
}
