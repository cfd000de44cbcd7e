//! Bodies that cannot be taken for one another.

/// The body of one answer, made for one identity.
#[derive(Clone, Copy)]
pub(crate) struct Pattern(u64);

impl Pattern {
    pub(crate) fn new(answer: u64, identity: &str) -> Self {
        // FNV-1a: the same in each run.
        Self(identity.bytes().fold(mix(answer), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    pub(crate) fn bytes(self, from: usize, to: usize) -> Vec<u8> {
        let words = from / 8..to.div_ceil(8);
        let bytes: Vec<u8> =
            words.flat_map(|nth| mix(self.0.wrapping_add(nth as u64)).to_le_bytes()).collect();
        let first = from % 8;
        bytes[first..first + to - from].to_vec()
    }

    pub(crate) fn is_at(self, offset: usize, bytes: &[u8]) -> bool {
        self.bytes(offset, offset + bytes.len()) == bytes
    }
}

/// splitmix64.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
