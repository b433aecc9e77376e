//! Checks of `[trunk.auth]` and `[trunk.register]`: an account without a password, a registration that cannot be sent.

use super::{Checker, calls};
use crate::{
    config::{Trunk, document::at},
    sip::message::Uri,
};

pub(super) fn check(checker: &mut Checker<'_>, index: usize, trunk: &Trunk) {
    if let Some(auth) = &trunk.auth {
        let both = auth.password_file.is_some() && checker.document.has(at!["trunk", index, "auth", "password"]);
        if both {
            checker.error(
                at!["trunk", index, "auth", "password_file"],
                "a password beside it",
                "password or password_file, one of them",
            );
        } else if auth.password.is_none() && auth.password_file.is_none() && checker.whole(&["trunk.auth.password"]) {
            checker.error(at!["trunk", index, "auth"], "no password", "password or password_file");
        }
        if let Some(realm) = &auth.realm
            && auth.challenge.as_ref().is_some_and(|own| own == realm)
        {
            checker.warn(
                at!["trunk", index, "auth", "challenge"],
                format!("{realm:?}, the realm of the trunk"),
                "a realm of its own: what tandem answers could be shown back to it",
            );
        }
    }
    let Some(rule) = &trunk.register else { return };
    calls::destination(checker, at!["trunk", index, "register", "registrar"], trunk, &rule.registrar);
    let aor = Uri::parse(&rule.aor).ok().filter(|aor| {
        aor.scheme.is_sip()
            && aor.user.is_some()
            && aor.password.is_none()
            && aor.params.is_empty()
            && aor.headers.is_none()
    });
    if aor.is_none() {
        checker.error(at!["trunk", index, "register", "aor"], format!("{:?}", rule.aor), "sip:USER@DOMAIN");
    }
    if rule.retry_max_s < rule.retry_s {
        checker.error(
            at!["trunk", index, "register", "retry_max_s"],
            rule.retry_max_s.to_string(),
            format!("retry_s ({}) or more", rule.retry_s),
        );
    }
}
