//! `ulysses-party`: who dials, and so what the link is called.

use percent_encoding::percent_decode_str;

/// Longest name that is accepted, in bytes.
const NAME_LIMIT_BYTES: usize = 1024;

/// Links whose slices wait for a Pull call begin with this.
const OWNER: &str = "owner";

/// Checks `rank/<index>/<member>` and `owner/<index>/<job>/<session>`, whose parts are percent-encoded and not empty.
pub(super) fn is_party(name: &str) -> bool {
    let mut parts = name.split('/');
    let names = match parts.next() {
        Some("rank") => 1,
        Some(OWNER) => 2,
        _ => return false,
    };
    let index = parts.next().is_some_and(|index| index.parse::<u32>().is_ok_and(|number| number.to_string() == index));
    let rest: Vec<&str> = parts.collect();
    let readable = |part: &&str| !part.is_empty() && percent_decode_str(part).decode_utf8().is_ok();
    name.len() <= NAME_LIMIT_BYTES && index && rest.len() == names && rest.iter().all(readable)
}

/// Whether slices for a link of this name wait until its Pull call comes.
pub(super) fn is_owner(name: &str) -> bool {
    name.strip_prefix(OWNER).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_parties_are_accepted() {
        for name in ["rank/0/a1", "rank/4294967295/member%2F1", "owner/3/job/session", "owner/0/j%20b/s"] {
            assert!(is_party(name), "{name}");
        }
        for name in [
            "",
            "rank",
            "rank/0",
            "rank/0/",
            "rank/x/a",
            "rank/+1/a",
            "rank/01/a",
            "rank/4294967296/a",
            "rank/0/a/b",
            "owner/0/job",
            "owner/0//s",
            "owner/0/j/s/t",
            "peer/0/a",
            "rank/0/%ff",
        ] {
            assert!(!is_party(name), "{name}");
        }
        assert!(!is_party(&format!("rank/0/{}", "a".repeat(NAME_LIMIT_BYTES))));
    }
}
