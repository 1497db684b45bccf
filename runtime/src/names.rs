//! Did-you-mean: the name closest to one that was not found.

/// The number of insertions, deletions and substitutions of characters that turn `a` into `b`.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The candidate closest to `name`, if at most a third of its characters have to change.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.chars().count().div_ceil(3);
    let scored = candidates
        .into_iter()
        .filter(|c| c.len().abs_diff(name.len()) <= 4 * limit)
        .map(|c| (edit_distance(name, c), c));
    scored.filter(|&(distance, _)| distance <= limit).min().map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("größe", "grosse"), 3);
    }

    #[test]
    fn closest_is_close_or_nothing() {
        let names = ["net.blocks.0.weight", "net.blocks.1.weight", "net.head.bias"];
        assert_eq!(closest("net.block.1.weight", names), Some("net.blocks.1.weight"));
        assert_eq!(closest("discriminator", names), None);
    }
}
