//! Values of fixed and variable size from the start of bytes.

/// Bytes that are read from their start.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteReader<'r>(&'r [u8]);

impl<'r> ByteReader<'r> {
    pub(super) fn new(bytes: &'r [u8]) -> Self {
        Self(bytes)
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'r [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'r [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("the record ends inside a value")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("the record ends inside a value")?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A number of seven bits in a byte, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // the tenth byte has one bit
                return if shift == 63 && byte > 1 { Err(too_large()) } else { Ok(number) };
            }
        }
        Err(too_large())
    }

    /// A number with its sign in the lowest bit.
    pub(super) fn zigzag(&mut self) -> Result<i64, String> {
        self.varint().map(signed)
    }
}

/// The number behind its zig-zag form.
pub(super) fn signed(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}

fn too_large() -> String {
    "a number has more than 64 bits".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_most_64_bits() {
        let read = |bytes: &[u8]| ByteReader::new(bytes).varint();
        let largest = [&[0xff; 9][..], &[1]].concat();
        assert_eq!((read(&[0]), read(&[0xac, 2]), read(&largest)), (Ok(0), Ok(300), Ok(u64::MAX)));
        assert!(
            read(&[0xff; 10]).is_err() && read(&[&[0xff; 9][..], &[2]].concat()).is_err() && read(&[0x80]).is_err()
        );
        assert_eq!([0, 1, 2, 3, u64::MAX, u64::MAX - 1].map(signed), [0, -1, 1, -2, i64::MIN, i64::MAX]);
    }
}
