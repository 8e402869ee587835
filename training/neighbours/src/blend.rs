//! Several lists as one.

use endcap_features::KeyMap;
use endcap_proto::ItemKey;

use crate::lists::best;

/// The `k` items with the largest sums of scores, each list (best first) counted by its weight and by its own largest
/// score: scores of different models mean different things. Ties go to the smaller key.
///
/// ```
/// use endcap_neighbours::blend;
/// use endcap_proto::ItemKey;
///
/// let rules = [(ItemKey(1), 8.0), (ItemKey(2), 4.0)];
/// let alike = [(ItemKey(2), 0.9), (ItemKey(3), 0.3)];
/// let both = blend(&[(1.0, &rules), (0.6, &alike)], 2);
/// assert_eq!(both, [(ItemKey(2), 0.5 + 0.6), (ItemKey(1), 1.0)]);
/// ```
pub fn blend(lists: &[(f32, &[(ItemKey, f32)])], k: usize) -> Vec<(ItemKey, f32)> {
    let mut rows: KeyMap<ItemKey, u32> = KeyMap::default();
    let (mut items, mut sums) = (Vec::new(), Vec::<(u32, f32)>::new());
    for (weight, list) in lists {
        let Some(largest) = list.first().map(|(_, score)| *score).filter(|&score| score > 0.0) else {
            continue;
        };
        for &(item, score) in *list {
            let row = *rows.entry(item).or_insert_with(|| {
                items.push(item);
                sums.push((sums.len() as u32, 0.0));
                sums.len() as u32 - 1
            });
            sums[row as usize].1 += weight * (score / largest);
        }
    }
    best(&mut sums, k, |row| items[row as usize]);
    sums.into_iter().map(|(row, score)| (items[row as usize], score)).collect()
}
