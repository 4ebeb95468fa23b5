//! Tiles: the log as files that never change (C2SP tlog-tiles), so that any monitor of such logs can follow it.
//!
//! A tile of level L and index N holds up to 256 hashes, those of tree level 8·L from 256·N on; an entry tile holds the leaves
//! themselves. A tile that is not full yet names its width.

use crate::digest::Digest;
use crate::leaf::LEAF_BYTES;
use crate::tree::NodeId;

/// Hashes or entries of a full tile.
pub const WIDTH_MAX: u16 = 256;

/// Tree levels between a tile's hashes and those of the tile above.
const HEIGHT: u8 = 8;

/// The highest level of a tile: those above would be of trees larger than [`SIZE_MAX`](crate::tree::SIZE_MAX).
const LEVEL_MAX: u8 = 7;

/// Most bytes of a path that is looked at; `7/` and seven elements have fewer.
const PATH_BYTES_MAX: usize = 64;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileKind {
    /// Hashes of the tree level that is eight times this.
    Hashes(u8),
    /// The entries: leaves, each with its length before it.
    Entries,
}

/// The place of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// What it holds.
    pub kind: TileKind,
    /// Its index within its level, from 0.
    pub index: u64,
    /// How many hashes or entries it holds, 1 to [`WIDTH_MAX`].
    pub width: u16,
}

impl Tile {
    /// Reads what follows `/tile/` in a path: `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`, where N is written in groups of three
    /// digits with an `x` before all but the last. There is one way to write each; `None` for anything else.
    pub fn parse(path: &str) -> Option<Self> {
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        let (kind, rest) = path.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => {
                let level = u8::try_from(decimal(level)?).ok();
                TileKind::Hashes(level.filter(|level| *level <= LEVEL_MAX)?)
            }
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (
                number,
                decimal(width).filter(|w| (1..u64::from(WIDTH_MAX)).contains(w))?,
            ),
            None => (rest, u64::from(WIDTH_MAX)),
        };
        let mut index: u64 = 0;
        let mut groups = number.split('/').peekable();
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() {
                group.strip_prefix('x')?
            } else {
                group
            };
            let three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let value: u64 = digits.parse().ok().filter(|_| three)?;
            index = index.checked_mul(1000)?.checked_add(value)?;
        }
        let tile = Self {
            kind,
            index,
            width: u16::try_from(width).ok()?,
        };
        // Also refuses leading groups of zeros.
        (tile.path() == path).then_some(tile)
    }

    /// What follows `/tile/` in its path.
    pub fn path(&self) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut above = self.index / 1000;
        while above > 0 {
            groups.push(format!("x{:03}", above % 1000));
            above /= 1000;
        }
        groups.reverse();
        let number = groups.join("/");
        let kind = match self.kind {
            TileKind::Entries => "entries".to_owned(),
            TileKind::Hashes(level) => level.to_string(),
        };
        if self.width == WIDTH_MAX {
            format!("{kind}/{number}")
        } else {
            format!("{kind}/{number}.p/{}", self.width)
        }
    }

    /// The leaves or nodes in it: their tree level, and the first one's index. `None` where no tree has such a tile.
    pub fn first(&self) -> Option<NodeId> {
        let level = match self.kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => level * HEIGHT,
        };
        let index = self.index.checked_mul(u64::from(WIDTH_MAX))?;
        // Where its last leaf would be.
        let end = index.checked_add(u64::from(self.width))?;
        end.checked_mul(1 << level)
            .filter(|end| *end <= crate::tree::SIZE_MAX)
            .map(|_| NodeId { level, index })
    }

    /// The tiles that hold the leaf hashes from `from` to the end of a log of `size` leaves. The first may begin before `from`.
    pub fn of_leaves(from: u64, size: u64) -> impl Iterator<Item = Self> {
        let width = u64::from(WIDTH_MAX);
        (from / width..size.div_ceil(width)).map(move |index| Self {
            kind: TileKind::Hashes(0),
            index,
            width: u16::try_from((size - index * width).min(width)).unwrap_or(WIDTH_MAX),
        })
    }

    /// The hashes of a tile's bytes; `None` where there are too many or too few.
    pub fn hashes(&self, bytes: &[u8]) -> Option<Vec<Digest>> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let whole = rest.is_empty() && hashes.len() == usize::from(self.width);
        whole.then(|| hashes.iter().copied().map(Digest::from_bytes).collect())
    }
}

/// A decimal number without leading zero.
fn decimal(text: &str) -> Option<u64> {
    crate::json::decimal::parse(text)
}

/// The bytes of an entry tile: each leaf with its length as two bytes, big-endian, before it.
pub fn bundle<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::from(WIDTH_MAX) * (LEAF_BYTES + 2));
    for leaf in leaves {
        let length = u16::try_from(leaf.len()).expect("a leaf has 406 bytes");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tlog_tiles::tile::Tile as Oracle;

    use super::*;

    /// The same place as Go's `sumdb/tlog` writes it: with the height, and `data` for entries.
    fn oracle(tile: Tile) -> String {
        let (level, is_data) = match tile.kind {
            TileKind::Hashes(level) => (level, false),
            TileKind::Entries => (0, true),
        };
        let path = Oracle::new(HEIGHT, level, tile.index, u32::from(tile.width), is_data).path();
        path.strip_prefix("tile/8/")
            .unwrap()
            .replace("data/", "entries/")
    }

    proptest! {
        #[test]
        fn a_tile_has_the_path_that_others_give_it(
            level in 0..=LEVEL_MAX, entries: bool, index in prop_oneof![0..3000_u64, any::<u64>()], width in 1..=WIDTH_MAX
        ) {
            let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
            let tile = Tile { kind, index, width };
            prop_assert_eq!(tile.path(), oracle(tile));
            prop_assert_eq!(Tile::parse(&tile.path()), Some(tile));
        }

        #[test]
        fn nothing_else_is_a_path(path in "[0-9x./ep]{0,24}|(0|entries)/[x0-9/]{0,12}(\\.p/[0-9]{0,4})?") {
            if let Some(tile) = Tile::parse(&path) {
                prop_assert_eq!(tile.path(), path);
            }
        }
    }

    #[test]
    fn paths_written_another_way_are_refused() {
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "0/x001",
            "0/001/001",
            "0/x001/x001",
            "0/x000/001",
            "00/001",
            "8/001",
            "-1/001",
            "0/001.p/0",
            "0/001.p/256",
            "0/001.p/07",
            "0/001.p/",
            "0/001.p",
            "0/001/",
            "entries",
            "Entries/001",
            "data/001",
            "+0/001",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/x1/001",
            "0/ 01",
            "0/001.p/1/2",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn tiles_beyond_every_tree_hold_nothing() {
        let tile = |level, index| Tile {
            kind: TileKind::Hashes(level),
            index,
            width: 1,
        };
        assert_eq!(
            tile(0, 2).first(),
            Some(NodeId {
                level: 0,
                index: 512
            })
        );
        assert_eq!(tile(1, 0).first(), Some(NodeId { level: 8, index: 0 }));
        assert_eq!(tile(7, 1).first(), None);
        assert_eq!(tile(0, u64::MAX).first(), None);
    }

    #[test]
    fn the_tiles_of_leaves_cover_them_all() {
        let paths = |from, size| {
            Tile::of_leaves(from, size)
                .map(|tile| tile.path())
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(0, 0), Vec::<String>::new());
        assert_eq!(paths(0, 256), ["0/000"]);
        assert_eq!(paths(255, 258), ["0/000", "0/001.p/2"]);
        assert_eq!(paths(256, 256), Vec::<String>::new());
        let two = Tile::of_leaves(0, 2).next().unwrap();
        assert_eq!(two.hashes(&[7; 64]).unwrap().len(), 2);
        for wrong in [0, 32, 63, 65, 96] {
            assert_eq!(two.hashes(&vec![7; wrong]), None, "{wrong}");
        }
    }

    #[test]
    fn entries_have_their_length_before_them() {
        assert_eq!(bundle([&b"ab"[..], b""]), [0, 2, b'a', b'b', 0, 0]);
    }
}
