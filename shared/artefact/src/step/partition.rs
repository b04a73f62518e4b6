//! The smallest of some numbers in the order in which NumPy's `argpartition` finds them, which decides among equal ones.
//!
//! It is NumPy's own quick select, with a pivot of three, and of medians of five where that does not get ahead. With
//! AVX-512, and NumPy 2 with AVX2, equal numbers are found in another order: there the answer depends on the processor.

/// Whether `a` comes before `b`; NaN comes last.
fn before(a: f64, b: f64) -> bool {
    a < b || (b.is_nan() && !a.is_nan())
}

/// The indices of the `count` smallest values.
pub(super) fn smallest(values: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let count = count.min(order.len());
    if count > 0 {
        select(values, &mut order, count - 1);
    }
    order.truncate(count);
    order
}

/// Puts the index of the `kth` smallest value at its place in `order`, with those of smaller ones before it.
fn select(v: &[f64], order: &mut [usize], kth: usize) {
    let n = order.len();
    if kth < 3 {
        return select_simply(v, order, kth);
    }
    if kth == n - 1 {
        let last = (0..n).fold(0, |last, i| if before(v[order[i]], v[order[last]]) { last } else { i });
        return order.swap(kth, last);
    }
    let (mut low, mut high) = (0, n - 1);
    let mut depth = 2 * n.ilog2() as i64;
    while low + 1 < high {
        let (mut from, mut to) = (low + 1, high);
        if depth > 0 || to - from < 5 {
            pivot_of_three(v, order, low, high);
        } else {
            let middle = from + median_of_medians(v, &mut order[from..to]);
            order.swap(middle, low);
            (from, to) = (from - 1, to + 1);
        }
        depth -= 1;
        let pivot = v[order[low]];
        loop {
            from += 1;
            while before(v[order[from]], pivot) {
                from += 1;
            }
            to -= 1;
            while before(pivot, v[order[to]]) {
                to -= 1;
            }
            if to < from {
                break;
            }
            order.swap(from, to);
        }
        order.swap(low, to);
        if to >= kth {
            high = to.saturating_sub(1);
        }
        if to <= kth {
            low = from;
        }
    }
    if high == low + 1 && before(v[order[high]], v[order[low]]) {
        order.swap(high, low);
    }
}

/// As [`select`], by one pass for each place.
fn select_simply(v: &[f64], order: &mut [usize], kth: usize) {
    for i in 0..=kth {
        let least = (i..order.len()).fold(i, |least, k| if before(v[order[k]], v[order[least]]) { k } else { least });
        order.swap(i, least);
    }
}

/// Puts the median of the first, the middle and the last value first, a smaller one second and a larger one last.
fn pivot_of_three(v: &[f64], order: &mut [usize], low: usize, high: usize) {
    let middle = low + (high - low) / 2;
    if before(v[order[high]], v[order[middle]]) {
        order.swap(high, middle);
    }
    if before(v[order[high]], v[order[low]]) {
        order.swap(high, low);
    }
    if before(v[order[low]], v[order[middle]]) {
        order.swap(low, middle);
    }
    order.swap(middle, low + 1);
}

/// Collects the medians of each five at the beginning; the place of their median.
fn median_of_medians(v: &[f64], order: &mut [usize]) -> usize {
    let medians = order.len() / 5;
    for i in 0..medians {
        let median = 5 * i + median_of_five(v, &mut order[5 * i..5 * i + 5]);
        order.swap(median, i);
    }
    if medians > 2 {
        select(v, &mut order[..medians], medians / 2);
    }
    medians / 2
}

fn median_of_five(v: &[f64], five: &mut [usize]) -> usize {
    for (after, first) in [(1, 0), (4, 3), (3, 0), (4, 1), (2, 1)] {
        if before(v[five[after]], v[five[first]]) {
            five.swap(after, first);
        }
    }
    match (before(v[five[3]], v[five[2]]), before(v[five[3]], v[five[1]])) {
        (true, true) => 1,
        (true, false) => 3,
        (false, _) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_found_in_the_order_of_numpy() {
        for (seed, n, values, expected) in FOUND {
            let mut state: u64 = *seed;
            let mut next = || {
                state = (state * 1_103_515_245 + 12_345) % (1 << 31);
                (state >> 16) % values
            };
            let drawn: Vec<f64> = (0..*n).map(|_| next()).map(|v| if v == 0 { f64::NAN } else { v as f64 }).collect();
            assert_eq!(smallest(&drawn, expected.len()), *expected, "seed {seed}");
        }
        assert!(smallest(&[], 3).is_empty() && smallest(&[1.0], 0).is_empty());
        assert_eq!(smallest(&[2.0, 1.0], 5), [1, 0]);
    }

    /// A seed, how many numbers below how many are drawn, 0 standing for NaN, and what `numpy.argpartition` found of them
    /// without vector instructions.
    const FOUND: &[(u64, usize, u64, &[usize])] = &[
        (1, 9, 3, &[1, 4, 5, 3, 0]),
        (2, 60, 5, &[40, 16, 6, 9, 11]),
        (3, 200, 4, &[52, 199, 50, 46, 53, 59, 45]),
        (4, 500, 6, &[74, 76, 72, 392, 70, 278, 390, 277, 388, 394]),
        (5, 40, 2, &[0, 1]),
        (6, 12, 3, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (7, 3000, 9, &[298, 1465, 2238, 2816, 2813, 2244, 2596, 1462]),
    ];
}
