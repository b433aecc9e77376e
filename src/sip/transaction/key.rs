//! How a message finds its transaction: RFC 3261 §17.1.3, §17.2.3, and §8.2.2.2 for merged requests.

use serde::{Deserialize, Serialize};

use crate::sip::message::{BRANCH_COOKIE, Message, Method, Start, Via};

/// A client transaction: our branch, and the method of CSeq because a CANCEL shares the branch of its INVITE.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientKey {
    branch: String,
    method: String,
}

impl ClientKey {
    /// Of a request that we send or a response that we got. None if a header it needs is absent.
    pub fn of(message: &Message) -> Option<ClientKey> {
        let via = message.top_via().ok()?;
        let branch = via.branch()?.to_owned();
        let method = message.cseq().ok()?.method.as_str().to_owned();
        Some(ClientKey { branch, method })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServerKey {
    /// Branch with the magic cookie, sent-by, method (INVITE for its ACK).
    Branch { branch: String, sent_by: String, method: String },
    /// RFC 2543 peers: the request's own identity. The To tag of an ACK is compared apart, with the response's.
    Legacy { uri: String, from_tag: Option<String>, call_id: String, seq: u32, via: String, method: String },
}

impl ServerKey {
    /// Of a request as it arrived, before `received` is added to its Via. An ACK gets its INVITE's key.
    pub fn of(request: &Message, top_via: &Via) -> Option<ServerKey> {
        let Start::Request { method, uri } = &request.start else { return None };
        let method = if *method == Method::Ack { Method::Invite.as_str() } else { method.as_str() }.to_owned();
        match top_via.branch() {
            Some(branch) if branch.starts_with(BRANCH_COOKIE) && branch.len() > BRANCH_COOKIE.len() => {
                Some(ServerKey::Branch { branch: branch.to_owned(), sent_by: sent_by(top_via), method })
            }
            _ => Some(ServerKey::Legacy {
                uri: uri.to_string(),
                from_tag: request.from().ok()?.tag().map(str::to_owned),
                call_id: request.call_id()?.to_owned(),
                seq: request.cseq().ok()?.seq,
                via: top_via.to_string(),
                method,
            }),
        }
    }

    /// Of an INVITE of which only the Via is known. None: a peer of RFC 2543, whose key takes more.
    pub fn of_invite(top_via: &Via) -> Option<ServerKey> {
        let branch = top_via.branch().filter(|b| b.starts_with(BRANCH_COOKIE) && b.len() > BRANCH_COOKIE.len())?;
        let method = Method::Invite.as_str().to_owned();
        Some(ServerKey::Branch { branch: branch.to_owned(), sent_by: sent_by(top_via), method })
    }

    /// The key of the INVITE (or other request) that a CANCEL with this key would cancel.
    pub fn cancelled(&self) -> ServerKey {
        let mut key = self.clone();
        match &mut key {
            ServerKey::Branch { method, .. } | ServerKey::Legacy { method, .. } => {
                *method = Method::Invite.as_str().to_owned();
            }
        }
        key
    }

    pub fn is_legacy(&self) -> bool {
        matches!(self, ServerKey::Legacy { .. })
    }
}

/// Host and port, the host without regard to case and the port as if 5060 had been written.
fn sent_by(via: &Via) -> String {
    format!("{}:{}", via.host, via.port.unwrap_or(5060)).to_ascii_lowercase()
}

/// RFC 3261 §8.2.2.2: a request outside a dialog that reached us twice, by two paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeKey {
    call_id: String,
    from_tag: Option<String>,
    seq: u32,
    method: String,
}

impl MergeKey {
    /// None if the request lies in a dialog, or cannot be merged (ACK and CANCEL are never forked on their own).
    pub fn of(request: &Message) -> Option<MergeKey> {
        let method = request.method()?;
        if matches!(method, Method::Ack | Method::Cancel) || request.to().ok()?.tag().is_some() {
            return None;
        }
        Some(MergeKey {
            call_id: request.call_id()?.to_owned(),
            from_tag: request.from().ok()?.tag().map(str::to_owned),
            seq: request.cseq().ok()?.seq,
            method: method.as_str().to_owned(),
        })
    }
}
