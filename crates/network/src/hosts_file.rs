//! Names in the /etc/hosts of containers: a block of ours at the end of Docker's own file, whose
//! other lines stay. It is written in place, since a container has that very file mounted.

use crate::Error;
use crate::lend::change;
use std::path::Path;

const BEGIN: &str = "# Written by Remuda: names of services.";
const END: &str = "# End of what Remuda wrote.";

/// Has the file end with a block of these lines, or with none when there are none: says whether it
/// had to be changed.
///
/// # Errors
/// `Error::Resolv`; also when the path is no plain file.
pub fn names_in_hosts(path: &Path, lines: &[String]) -> Result<bool, Error> {
    change(path, |text| with_block(text, lines))
}

fn with_block(text: &str, lines: &[String]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut ours = false;
    for line in text.lines() {
        match line {
            BEGIN => ours = true,
            END if ours => ours = false,
            _ if ours => {}
            _ => out.extend([line, "\n"]),
        }
    }
    if lines.is_empty() {
        // What was never ours is left as it is, to the byte.
        return if text.lines().any(|line| line == BEGIN) { out } else { text.to_owned() };
    }
    let block = std::iter::once(BEGIN).chain(lines.iter().map(String::as_str)).chain([END]);
    block.for_each(|line| out.extend([line, "\n"]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt as _;

    fn lines(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn docker_s_lines_stay_and_ours_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let docker = "127.0.0.1\tlocalhost\n10.42.0.9\tc1\n";
        std::fs::write(&path, docker).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let read = || std::fs::read_to_string(&path).unwrap();
        assert!(!names_in_hosts(&path, &[]).unwrap());
        let many = lines(&["10.42.0.5\tweb web.shop", "10.42.0.6\tweb web.shop"]);
        assert!(names_in_hosts(&path, &many).unwrap() && !names_in_hosts(&path, &many).unwrap());
        assert!(read().starts_with(docker) && read().contains("10.42.0.6\tweb"));
        // Docker, or who plugs a container in, adds a line behind ours.
        std::fs::write(&path, format!("{}10.42.0.9\tlate\n", read())).unwrap();
        assert!(names_in_hosts(&path, &lines(&["10.42.0.7\tweb"])).unwrap());
        assert!(read().contains("late") && !read().contains("10.42.0.6"), "{}", read());
        assert!(names_in_hosts(&path, &[]).unwrap());
        assert_eq!(read(), format!("{docker}10.42.0.9\tlate\n"));
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode, "the same file");
    }

    proptest! {
        #[test]
        fn what_was_there_comes_back_and_twice_is_once(
            before in proptest::collection::vec("[a-z0-9 .]{0,20}", 0..6),
            ours in proptest::collection::vec("[a-z0-9. ]{1,20}", 0..4),
        ) {
            let before: String = before.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            let text = with_block(&before, &ours);
            prop_assert!(text.starts_with(&before));
            prop_assert_eq!(&with_block(&text, &ours), &text);
            prop_assert_eq!(with_block(&text, &[]), before);
        }
    }
}
