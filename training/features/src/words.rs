//! The words of a product: what it says of itself, in small pieces that products share.

use endcap_proto::Item;
use twox_hash::XxHash3_64;

use crate::VocabularyConfig;

/// What a word is of. A word of one kind is never the word of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum WordKind {
    /// A prefix of a category path: `shoes`, `shoes > boots`.
    Category,
    /// A brand.
    Brand,
    /// A price band, two to a doubling: `floor(2 · log2(price))`.
    Price,
    /// A token of the title.
    Title,
    /// A run of characters within a token of the title, which is marked `^` and `$` at its ends.
    Ngram,
    /// A tag.
    Tag,
}

impl WordKind {
    /// Every kind, in the order of their shared rows.
    pub const ALL: &[Self] = &[Self::Category, Self::Brand, Self::Price, Self::Title, Self::Ngram, Self::Tag];

    /// The kind's name in a vocabulary's file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Brand => "brand",
            Self::Price => "price",
            Self::Title => "title",
            Self::Ngram => "ngram",
            Self::Tag => "tag",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// Hash by which a word is looked up.
    pub(crate) fn hash(self, word: &str) -> u64 {
        XxHash3_64::oneshot_with_seed(self as u64 + 1, word.as_bytes())
    }
}

/// The segments of a category path `A > B > C`, without the empty ones.
pub(crate) fn path_segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('>').map(str::trim).filter(|segment| !segment.is_empty())
}

/// Calls `word` with each word of a product, in lower case. One word may come more than once.
pub(crate) fn each_word(item: &Item, config: &VocabularyConfig, mut word: impl FnMut(WordKind, &str)) {
    let mut text = String::new();
    for path in &item.categories {
        text.clear();
        for segment in path_segments(path) {
            if !text.is_empty() {
                text.push_str(" > ");
            }
            lower(segment, &mut text);
            word(WordKind::Category, &text);
        }
    }
    let named = item.brand.iter().map(|brand| (WordKind::Brand, brand));
    for (kind, name) in named.chain(item.tags.iter().map(|tag| (WordKind::Tag, tag))) {
        text.clear();
        lower(name.trim(), &mut text);
        if !text.is_empty() {
            word(kind, &text);
        }
    }
    if let Some(price) = item.price {
        word(WordKind::Price, &price_band(price).to_string());
    }
    let title = item.title.as_deref().unwrap_or_default();
    let tokens = title.split(|c: char| !c.is_alphanumeric()).filter(|token| !token.is_empty());
    for token in tokens.take(config.title_tokens) {
        text.clear();
        text.push('^');
        lower(token, &mut text);
        text.push('$');
        word(WordKind::Title, &text[1..text.len() - 1]);
        each_ngram(&text, config.ngram, |ngram| word(WordKind::Ngram, ngram));
    }
}

/// The runs of `n` characters of a text that has more than `n`; none when `n` is 0.
fn each_ngram(text: &str, n: usize, mut ngram: impl FnMut(&str)) {
    if n == 0 {
        return;
    }
    let starts = text.char_indices().map(|(start, _)| start);
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8()).skip(n - 1);
    if text.chars().nth(n).is_some() {
        starts.zip(ends).for_each(|(start, end)| ngram(&text[start..end]));
    }
}

fn lower(text: &str, out: &mut String) {
    out.extend(text.chars().flat_map(char::to_lowercase));
}

/// Two bands to a doubling; prices below 2⁻¹⁰ share the lowest band, above 2⁴⁰ the highest.
fn price_band(price: f64) -> i32 {
    (2.0 * price.max(f64::MIN_POSITIVE).log2()).floor().clamp(-20.0, 80.0) as i32
}

#[cfg(test)]
mod tests {
    use endcap_proto::ItemId;

    use super::*;

    #[test]
    fn a_product_speaks_in_all_kinds_of_word() {
        let mut item = Item::bare(ItemId::new("b1").unwrap());
        item.title = Some("Größe-42 Boot".to_owned());
        item.categories = vec!["Shoes > Winter  boots".to_owned(), " > ".to_owned()];
        item.brand = Some(" Alp ".to_owned());
        item.tags = vec!["Warm".to_owned(), " ".to_owned()];
        item.price = Some(100.0);
        let config = VocabularyConfig { ngram: 5, ..VocabularyConfig::default() };
        let mut words = Vec::new();
        each_word(&item, &config, |kind, word| words.push(format!("{}:{word}", kind.as_str())));
        // 2 · log2(100) = 13.28…
        let expected = [
            "category:shoes",
            "category:shoes > winter  boots",
            "brand:alp",
            "tag:warm",
            "price:13",
            "title:größe",
            "ngram:^größ",
            "ngram:größe",
            "ngram:röße$",
            "title:42",
            "title:boot",
            "ngram:^boot",
            "ngram:boot$",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn price_bands_double_every_second_one() {
        assert_eq!([1.0, 1.5, 2.0, 4.0].map(price_band), [0, 1, 2, 4]);
        assert_eq!([0.0, f64::MAX].map(price_band), [-20, 80]);
    }
}
