//! Random bytes, from the operating system.

/// Returns `N` random bytes. `None` if the operating system has none to give: the fleet goes on
/// alone.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_them_are_equal() {
        assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    }
}
