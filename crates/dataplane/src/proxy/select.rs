//! Least connections: who of some candidates takes the next one. Pure but for the turns.

/// Most candidates looked at for one choice, unless none of them is eligible.
const WINDOW: usize = 128;

/// What a candidate carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Requests in flight.
    pub(super) in_flight: u64,
    /// Relative share, not 0.
    pub(super) weight: u32,
}

impl Load {
    /// Compares in-flight over weight without dividing.
    fn cmp(self, other: Self) -> std::cmp::Ordering {
        let left = u128::from(self.in_flight) * u128::from(other.weight);
        let right = u128::from(other.in_flight) * u128::from(self.weight);
        left.cmp(&right)
    }
}

/// The eligible candidate of `0..count` with the least in flight for its weight, looking from
/// `start` on. `load` says `None` for one that is not eligible. Those that tie take turns in
/// proportion to their weight: `add_turn(i, n)` adds to the credit of a candidate and returns it.
pub(super) fn least(
    count: usize,
    start: usize,
    mut load: impl FnMut(usize) -> Option<Load>,
    mut add_turn: impl FnMut(usize, i64) -> i64,
) -> Option<usize> {
    let mut best: Option<(usize, Load)> = None;
    let mut ties = 0_usize;
    let mut looked = 0;
    for step in 0..count {
        if step >= WINDOW && best.is_some() {
            break;
        }
        looked = step + 1;
        let index = (start + step) % count;
        let Some(load) = load(index) else { continue };
        match best.map_or(std::cmp::Ordering::Less, |(_, least)| load.cmp(least)) {
            std::cmp::Ordering::Less => {
                best = Some((index, load));
                ties = 1;
            }
            std::cmp::Ordering::Equal => ties += 1,
            std::cmp::Ordering::Greater => {}
        }
    }
    let (first, least) = best?;
    if ties == 1 {
        return Some(first);
    }
    let mut total = 0;
    let mut turn: Option<(usize, i64)> = None;
    for step in 0..looked {
        let index = (start + step) % count;
        let Some(load) = load(index).filter(|load| load.cmp(least).is_eq()) else { continue };
        let weight = i64::from(load.weight);
        total += weight;
        let credit = add_turn(index, weight);
        if turn.is_none_or(|(_, most)| credit > most) {
            turn = Some((index, credit));
        }
    }
    let (winner, _) = turn?;
    add_turn(winner, -total);
    Some(winner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(loads: &[Option<(u64, u32)>], turns: &mut [i64]) -> Option<usize> {
        least(
            loads.len(),
            0,
            |i| loads[i].map(|(in_flight, weight)| Load { in_flight, weight }),
            |i, n| {
                turns[i] += n;
                turns[i]
            },
        )
    }

    #[test]
    fn the_least_loaded_for_its_weight_is_taken() {
        for (loads, want) in [
            (vec![], None),
            (vec![None, None], None),
            (vec![Some((3, 1)), Some((2, 1)), Some((4, 1))], Some(1)),
            (vec![Some((3, 1)), None, Some((4, 1))], Some(0)),
            (vec![Some((3, 1)), Some((5, 2))], Some(1)),
            (vec![Some((0, 1)), Some((1, 1_000_000))], Some(0)),
            (vec![Some((u64::MAX, u32::MAX)), Some((u64::MAX - 1, u32::MAX))], Some(1)),
        ] {
            assert_eq!(pick(&loads, &mut vec![0; loads.len()]), want, "{loads:?}");
        }
    }

    #[test]
    fn ties_take_turns_by_weight() {
        let loads = [Some((0, 3)), Some((0, 1)), None, Some((7, 1)), Some((0, 1))];
        let mut turns = [0; 5];
        let mut taken = [0; 5];
        for _ in 0..500 {
            taken[pick(&loads, &mut turns).unwrap()] += 1;
        }
        assert_eq!(taken, [300, 100, 0, 0, 100]);
    }

    #[test]
    fn a_large_set_is_searched_until_one_is_eligible() {
        let far =
            least(1_000, 0, |i| (i == 900).then_some(Load { in_flight: 9, weight: 1 }), |_, n| n);
        assert_eq!(far, Some(900));
    }
}
