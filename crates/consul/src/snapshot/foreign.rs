//! Keys of a snapshot that Consul itself made: a header, then records of a byte that says what they
//! are and one MessagePack value. Only keys are taken; everything else is passed over. What is cut or
//! damaged is an error, never a panic.

use bytes::Bytes;

/// The kind of a record that is a key.
const KEY: u8 = 2;
/// Newer kinds that older ones may pass over have this bit.
const MAY_SKIP: u8 = 0x80;
/// How deep values may be in values.
const DEPTH_MAX: usize = 32;

/// A key with its flags and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) flags: u64,
    pub(super) value: Bytes,
}

/// Reads all keys and hands each to `take`.
///
/// # Errors
/// Why it cannot be read, or what `take` says.
pub(super) fn read(
    state: &[u8],
    mut take: impl FnMut(Found) -> Result<(), String>,
) -> Result<(), String> {
    let mut input = Input { rest: state };
    let mut has_header = false;
    input.map(|name, input| {
        has_header |= name == b"LastIndex";
        input.skip(0)
    })?;
    if !has_header {
        return Err("its state has no header of Consul".into());
    }
    while !input.rest.is_empty() {
        let kind = input.byte()? & !MAY_SKIP;
        if kind != KEY {
            input.skip(0)?;
            continue;
        }
        let (mut key, mut flags, mut value) = (None, 0, Bytes::new());
        input.map(|name, input| {
            match name {
                b"Key" => key = Some(input.bytes()?.to_vec()),
                b"Flags" => flags = input.number()?,
                b"Value" => value = Bytes::copy_from_slice(input.bytes()?),
                _ => input.skip(0)?,
            }
            Ok(())
        })?;
        let key = String::from_utf8(key.ok_or("a key has no name")?)
            .map_err(|_binary| "the name of a key is no UTF-8".to_owned())?;
        take(Found { key, flags, value })?;
    }
    Ok(())
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, String> {
        self.some(1).map(|bytes| bytes[0])
    }

    fn some(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (some, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| "its state is cut".to_owned())?;
        self.rest = rest;
        Ok(some)
    }

    /// A number of so many bytes.
    fn big(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self.some(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn size(&mut self, bytes: usize) -> Result<usize, String> {
        usize::try_from(self.big(bytes)?).map_err(|_large| "a value is too large".to_owned())
    }

    /// Each name of a map; what is given reads the value behind it.
    fn map(
        &mut self,
        mut each: impl FnMut(&[u8], &mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let count = match self.byte()? {
            kind @ 0x80..=0x8f => usize::from(kind & 0x0f),
            0xde => self.size(2)?,
            0xdf => self.size(4)?,
            kind => return Err(format!("a record is no map but 0x{kind:02x}")),
        };
        for _ in 0..count {
            let name = self.bytes()?;
            each(name, self)?;
        }
        Ok(())
    }

    /// A text or bytes; nothing is empty.
    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let size = match self.byte()? {
            0xc0 => 0,
            kind @ 0xa0..=0xbf => usize::from(kind & 0x1f),
            0xc4 | 0xd9 => self.size(1)?,
            0xc5 | 0xda => self.size(2)?,
            0xc6 | 0xdb => self.size(4)?,
            kind => return Err(format!("0x{kind:02x} is no text")),
        };
        self.some(size)
    }

    fn number(&mut self) -> Result<u64, String> {
        match self.byte()? {
            small @ 0..=0x7f => Ok(u64::from(small)),
            0xcc | 0xd0 => self.big(1),
            0xcd | 0xd1 => self.big(2),
            0xce | 0xd2 => self.big(4),
            0xcf | 0xd3 => self.big(8),
            kind => Err(format!("0x{kind:02x} is no number")),
        }
    }

    /// Over one value, whatever it is.
    fn skip(&mut self, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("a record is too deep".into());
        }
        let (values, bytes) = match self.byte()? {
            0..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            kind @ 0x80..=0x8f => (2 * usize::from(kind & 0x0f), 0),
            kind @ 0x90..=0x9f => (usize::from(kind & 0x0f), 0),
            kind @ 0xa0..=0xbf => (0, usize::from(kind & 0x1f)),
            0xc4 | 0xd9 => (0, self.size(1)?),
            0xc5 | 0xda => (0, self.size(2)?),
            0xc6 | 0xdb => (0, self.size(4)?),
            0xc7 => (0, self.size(1)?.saturating_add(1)),
            0xc8 => (0, self.size(2)?.saturating_add(1)),
            0xc9 => (0, self.size(4)?.saturating_add(1)),
            0xcc | 0xd0 => (0, 1),
            0xcd | 0xd1 | 0xd4 => (0, 2),
            0xd5 => (0, 3),
            0xce | 0xd2 | 0xca => (0, 4),
            0xd6 => (0, 5),
            0xcf | 0xd3 | 0xcb => (0, 8),
            0xd7 => (0, 9),
            0xd8 => (0, 17),
            0xdc => (self.size(2)?, 0),
            0xdd => (self.size(4)?, 0),
            0xde => (self.size(2)?.saturating_mul(2), 0),
            0xdf => (self.size(4)?.saturating_mul(2), 0),
            0xc1 => return Err("a record has a byte that means nothing".into()),
        };
        self.some(bytes)?;
        // A value has a byte at least: more than are left are not tried.
        if values > self.rest.len() {
            return Err("its state is cut".into());
        }
        (0..values).try_for_each(|_| self.skip(depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Vec<u8> {
        [&[0xd9, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    /// As Consul writes it: a header, a node that is passed over, two keys, a tombstone.
    fn state() -> Vec<u8> {
        let mut out = vec![0x81];
        out.extend(text("LastIndex"));
        out.extend([0xcd, 0x01, 0x02]);
        out.extend([0x00, 0x82]);
        out.extend(text("Node"));
        out.extend([0x93, 0xc0, 0xc3, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(text("At"));
        out.extend([0xd7, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend([KEY, 0x84]);
        out.extend(text("LockIndex"));
        out.push(0);
        out.extend(text("Key"));
        out.extend(text("a/b"));
        out.extend(text("Flags"));
        out.extend([0xcf, 0x2d, 0xdc, 0xcb, 0xc0, 0x58, 0xa5, 0x0c, 0x18]);
        out.extend(text("Value"));
        out.extend([0xc4, 2, 0, 0xff]);
        out.extend([KEY, 0x82]);
        out.extend(text("Key"));
        out.extend([0xa1, b'c']);
        out.extend(text("Value"));
        out.push(0xc0);
        out.extend([5, 0x80]);
        out
    }

    fn all(state: &[u8]) -> Result<Vec<Found>, String> {
        let mut all = vec![];
        read(state, |found| {
            all.push(found);
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn its_keys_are_found_and_the_rest_passed_over() {
        let found = |key: &str, flags, value: &'static [u8]| Found {
            key: key.into(),
            flags,
            value: Bytes::from_static(value),
        };
        let want = [found("a/b", 0x2ddc_cbc0_58a5_0c18, b"\0\xff"), found("c", 0, b"")];
        assert_eq!(all(&state()), Ok(want.to_vec()));
    }

    #[test]
    fn what_is_cut_or_another_thing_is_refused() {
        for (wrong, why) in [
            (&b""[..], "cut"),
            (b"remuda-kv 2\n", "no map"),
            (b"\x80", "no header"),
            (b"\x81\xa9LastIndex\x01\x02\x80", "no name"),
            (b"\x81\xa9LastIndex\x01\x05\xdd\xff\xff\xff\xff", "cut"),
            (b"\x81\xa9LastIndex\x01\x05\xc1", "means nothing"),
        ] {
            let error = all(wrong).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let deep = [b"\x81\xa9LastIndex\x01\x05".to_vec(), vec![0x91; 100], vec![0]].concat();
        assert!(all(&deep).unwrap_err().contains("too deep"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
            let mut state = state();
            let length = state.len();
            state[at % length] = byte;
            state.truncate(length - cut % length);
            all(&state).ok();
        }
    }
}
