//! Which images stay and which go, in tables.

use super::*;

const NOW: Timestamp = Timestamp(10_000_000_000);
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const GIB: u64 = 1 << 30;

fn ago(ms: u64) -> Timestamp {
    Timestamp(NOW.0 - i64::try_from(ms).unwrap())
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A host with images of 1 GiB each, in words: `id names=a:1,b:1 digest built used=<hours> as=a:1`,
/// and `foreign` for one that Remuda had nothing to do with.
struct Shelf {
    images: Vec<HostImage>,
    uses: BTreeMap<String, ImageUse>,
    in_use: BTreeSet<String>,
    kept: BTreeSet<String>,
    disk: Option<(u64, u64)>,
    refused: BTreeMap<String, ImageRefusal>,
}

impl Shelf {
    fn of(lines: &[&str]) -> Self {
        let (mut images, mut uses) = (vec![], BTreeMap::new());
        for line in lines {
            let mut image = HostImage { size: GIB, ..HostImage::default() };
            let mut used = ImageUse::default();
            let mut ours = true;
            let mut known_as = None;
            for (nth, word) in line.split_whitespace().enumerate() {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                match key {
                    id if nth == 0 => image.id = format!("sha256:{id}"),
                    "names" => image.names = words(&value.replace(',', " ")),
                    "as" => known_as = Some(words(&value.replace(',', " "))),
                    "digest" => image.digests = words(&format!("r/x@{}", image.id)),
                    "built" => used.built = true,
                    "used" => used.used_at = ago(value.parse::<u64>().unwrap() * HOUR),
                    "foreign" => ours = false,
                    other => panic!("{other}"),
                }
            }
            used.names = known_as.unwrap_or_else(|| image.names.clone());
            if ours {
                uses.insert(image.id.clone(), used);
            }
            images.push(image);
        }
        Self {
            images,
            uses,
            in_use: BTreeSet::new(),
            kept: BTreeSet::new(),
            disk: Some((1_000 * GIB, 500 * GIB)),
            refused: BTreeMap::new(),
        }
    }

    fn sweep(&self) -> ImageSweep {
        let seen = ImagesSeen {
            images: &self.images,
            uses: &self.uses,
            in_use: &self.in_use,
            kept: &self.kept,
            disk: self.disk,
            refused: &self.refused,
        };
        sweep(&seen, NOW)
    }

    fn gone(&self) -> String {
        let sweep = self.sweep();
        let ids = sweep.removals.iter().map(|one| one.id.trim_start_matches("sha256:"));
        ids.collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn an_image_that_remuda_brought_goes_when_nothing_has_needed_it_for_a_week() {
    for (line, goes) in [
        ("aa names=a:1 digest used=169", true),
        ("aa names=a:1 digest used=167", false),
        ("aa names=a:1 digest used=0", false),
        ("aa names=a:1 digest foreign", false),
        // Nobody could have it again.
        ("aa names=a:1 used=999", false),
        ("aa names= used=999", false),
        // A name moved on to a newer pull.
        ("aa names= digest used=169 as=a:1", true),
        // Somebody gave it another name.
        ("aa names=a:1,mine:keep digest used=999 as=a:1", false),
        ("aa names=mine:keep digest used=999 as=a:1", false),
        ("aa names=a:1,a:latest digest used=999", true),
        // A build keeps its name for ever, and goes soon after it lost it.
        ("aa names=a:1 built used=999", false),
        ("aa names=a:1 built digest used=999", false),
        ("aa names= built used=1 as=a:1", true),
        ("aa names= built used=0 as=a:1", false),
    ] {
        assert_eq!(Shelf::of(&[line]).gone(), if goes { "aa" } else { "" }, "{line}");
    }
}

#[test]
fn what_a_rollback_or_a_container_needs_stays_however_old_and_full() {
    let line = ["aabbccdd names=a:1 digest used=999"];
    for (kept, in_use, goes) in [
        ("", "", true),
        ("b:1 sha256:ff", "sha256:ff", true),
        ("a:1", "", false),
        ("sha256:aabbccdd", "", false),
        ("r/x@sha256:aabbccdd", "", false),
        // The begin of its id, as people write it.
        ("aabbcc:latest", "", false),
        ("aabbcc", "", false),
        ("aab:latest", "", true),
        ("", "sha256:aabbccdd", false),
    ] {
        let mut shelf = Shelf::of(&line);
        (shelf.kept, shelf.in_use) = (words(kept), words(in_use));
        shelf.disk = Some((1_000 * GIB, 0));
        let sweep = shelf.sweep();
        assert_eq!(!sweep.removals.is_empty(), goes, "kept {kept:?}, in use {in_use:?}");
        assert_eq!(sweep.reclaimable, if goes { GIB } else { 0 }, "kept {kept:?}");
    }
    // A superseded build that a kept revision ran is kept by its id.
    let mut shelf = Shelf::of(&["aa names= built used=99 as=a:1"]);
    shelf.kept = words("a:1 sha256:aa");
    assert_eq!(shelf.gone(), "");
    // A name that is kept means the image that has it now.
    let mut shelf = Shelf::of(&["aa names= digest used=999 as=a:1", "bb names=a:1 digest used=0"]);
    shelf.kept = words("a:1");
    assert_eq!(shelf.gone(), "aa");
}

#[test]
fn a_disk_that_is_short_of_room_takes_the_oldest_until_there_is_enough() {
    let lines: Vec<String> =
        (1..=9).map(|n| format!("a{n} names=a:{n} digest used={}", 10 - n)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (total, free, gone) in [
        // 15 % must be free, and then 20 % are made so.
        (100, 15, ""),
        (100, 14, "a1 a2 a3 a4 a5 a6"),
        (100, 19, ""),
        (100, 0, "a1 a2 a3 a4 a5 a6 a7 a8 a9"),
        // And some GiB on a disk that is not that large.
        (40, 6, ""),
        (40, 5, "a1 a2 a3"),
        (8, 1, "a1"),
        (8, 2, ""),
        (0, 0, ""),
    ] {
        let mut shelf = Shelf::of(&lines);
        shelf.disk = Some((total * GIB, free * GIB));
        assert_eq!(shelf.gone(), gone, "{free} of {total} GiB");
    }
    let mut shelf = Shelf::of(&lines);
    shelf.disk = None;
    assert_eq!(shelf.gone(), "", "a disk that could not be looked at is not full");
    // What was just pulled is about to be run.
    let mut shelf = Shelf::of(&["aa names=a:1 digest used=0", "bb names=b:1 foreign digest"]);
    shelf.disk = Some((100 * GIB, 0));
    let sweep = shelf.sweep();
    assert_eq!((sweep.removals.len(), sweep.reclaimable, sweep.pressed), (0, GIB, true));
}

#[test]
fn all_names_of_it_go_and_the_reason_is_told() {
    let removal = |line: &str| {
        let sweep = Shelf::of(&[line]).sweep();
        let one = sweep.removals.into_iter().next().unwrap();
        (one.names.join(" "), one.why)
    };
    let old = removal("aa names=a:1,a:2 digest used=999");
    assert_eq!(old, ("a:1 a:2".into(), "nothing has needed it for long"));
    let built = removal("aa names= built used=99 as=a:1");
    assert_eq!(built, (String::new(), "a newer build has its name"));
}

#[test]
fn a_refused_removal_is_tried_again_later_and_later() {
    let lines = ["aa names=a:1 digest used=999", "bb names=b:1 digest used=998"];
    let mut refusal: Option<ImageRefusal> = None;
    for minutes in [10, 20, 40, 80, 160, 320, 640, 1_280, 1_440, 1_440] {
        refusal = Some(ImageRefusal::after(refusal.as_ref(), NOW));
        for (waited, gone) in [(minutes * 60_000 - 1, "bb"), (minutes * 60_000, "aa bb")] {
            let mut shelf = Shelf::of(&lines);
            let since = ImageRefusal { at: ago(waited), ..refusal.unwrap() };
            shelf.refused.insert("sha256:aa".into(), since);
            assert_eq!(shelf.gone(), gone, "{waited} ms after the last of {refusal:?}");
        }
    }
}

#[test]
fn many_go_a_few_at_a_time_and_nothing_goes_that_is_not_known() {
    let lines: Vec<String> =
        (1..=100).map(|n| format!("{n} names=a:{n} digest used={}", 999 - n)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut shelf = Shelf::of(&lines);
    let sweep = shelf.sweep();
    assert_eq!(sweep.removals.len(), IMAGES_REMOVED_TOGETHER_MAX);
    assert_eq!(sweep.reclaimable, 100 * GIB);
    assert_eq!(sweep.removals[0].id, "sha256:1", "the oldest first");
    shelf.uses.clear();
    assert_eq!(shelf.sweep(), ImageSweep::default());
    // A clock that went back makes nothing old.
    let mut shelf = Shelf::of(&["aa names=a:1 digest used=0"]);
    shelf.uses.get_mut("sha256:aa").unwrap().used_at = Timestamp(NOW.0 + 1_000_000_000);
    assert_eq!(shelf.gone(), "");
    assert_eq!(DAY * 7, IMAGE_UNUSED_MS_MAX, "what the documentation says");
}
