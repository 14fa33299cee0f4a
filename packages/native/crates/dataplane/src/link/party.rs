//! `ulysses-party`: who dials, and so what the link is called.

use percent_encoding::percent_decode_str;

use crate::names::{Party, Role};

/// Longest name that is accepted, in bytes.
const NAME_LIMIT_BYTES: usize = 1024;

/// Links whose slices wait for a Pull call begin with this.
const OWNER: &str = "owner";

/// A dialled link to a rank is `to/` and the name of that rank, and what else the dialler put there.
const TO: &str = "to/";

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

/// Who is at the other end of a link, when its name says so.
pub(crate) fn party_at(link: &str) -> Option<Party> {
    let mut parts = link.strip_prefix(TO).unwrap_or(link).split('/');
    let role = match parts.next()? {
        "rank" => Role::Rank,
        OWNER => Role::Owner,
        _ => return None,
    };
    let index = parts.next()?.parse().ok()?;
    parts.next().map(|_| Party { role, index })
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

    #[test]
    fn a_link_says_who_is_at_its_other_end() {
        let named = |link| party_at(link).map(|party| party.to_string());
        assert_eq!(named("rank/12/a1").as_deref(), Some("rank 12"));
        assert_eq!(named("to/rank/2/a1/from/0").as_deref(), Some("rank 2"));
        assert_eq!(named("owner/3/job/session").as_deref(), Some("owner 3"));
        for link in ["", "to rank 2", "rank/2", "rank/x/a1", "peer/2/a1"] {
            assert_eq!(named(link), None, "{link}");
        }
    }
}
