//! Answers by the cookies of the commands they answer: over UDP a command that is not answered in time comes again, and must
//! then not be carried out twice. Pure; slow-path thread.
//!
//! Always holds: no more than `NG_REPLIES` answers and `NG_REPLIES_BYTES` bytes, none older than `NG_REPLY_KEPT`. Hosts draw
//! their cookies apart from each other, so a cookie is one of a source address; not of a port, which a proxy that was
//! started anew has changed.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use bytes::Bytes;

use crate::base::{
    Time,
    limits::{NG_REPLIES, NG_REPLIES_BYTES, NG_REPLY_KEPT},
};

type Key = (IpAddr, Bytes);

#[derive(Debug, Default)]
pub struct Cookies {
    replies: HashMap<Key, Bytes>,
    oldest: VecDeque<(Time, Key)>,
    bytes: usize,
}

impl Cookies {
    /// The answer that was given to this cookie lately.
    pub fn reply(&mut self, now: Time, source: IpAddr, cookie: &Bytes) -> Option<Bytes> {
        self.forget(now);
        self.replies.get(&(source, cookie.clone())).cloned()
    }

    pub fn keep(&mut self, now: Time, source: IpAddr, cookie: &Bytes, reply: &Bytes) {
        self.forget(now);
        // A copy: the cookie is a part of its message, which need not stay for it.
        let key = (source, Bytes::copy_from_slice(cookie));
        if self.replies.contains_key(&key) {
            return;
        }
        self.bytes += reply.len() + cookie.len();
        self.replies.insert(key.clone(), reply.clone());
        self.oldest.push_back((now, key));
        while self.replies.len() > NG_REPLIES || self.bytes > NG_REPLIES_BYTES {
            self.drop_oldest();
        }
    }

    fn forget(&mut self, now: Time) {
        while self.oldest.front().is_some_and(|(since, _)| now.since(*since) >= NG_REPLY_KEPT) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, key)) = self.oldest.pop_front() else { return };
        if let Some(reply) = self.replies.remove(&key) {
            self.bytes = self.bytes.saturating_sub(reply.len() + key.1.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_answer_is_given_again_to_the_same_source_for_a_while() {
        let mut cookies = Cookies::default();
        let (cookie, reply) = (Bytes::from_static(b"c1"), Bytes::from_static(b"answer"));
        let start = Time::from_secs(100);
        cookies.keep(start, ip(1), &cookie, &reply);
        assert_eq!(cookies.reply(start, ip(1), &cookie), Some(reply.clone()));
        assert_eq!(cookies.reply(start, ip(2), &cookie), None);
        let last = start + (NG_REPLY_KEPT - std::time::Duration::from_millis(1));
        assert_eq!(cookies.reply(last, ip(1), &cookie), Some(reply));
        assert_eq!(cookies.reply(start + NG_REPLY_KEPT, ip(1), &cookie), None);
        assert_eq!((cookies.replies.len(), cookies.bytes), (0, 0));
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_oldest_goes_first() {
        let mut cookies = Cookies::default();
        let cookie = |n: usize| Bytes::from(n.to_string());
        for n in 0..NG_REPLIES + 10 {
            cookies.keep(Time::ZERO, ip(1), &cookie(n), &Bytes::from_static(b"x"));
        }
        assert_eq!(cookies.replies.len(), NG_REPLIES);
        assert_eq!(cookies.reply(Time::ZERO, ip(1), &cookie(9)), None);
        assert!(cookies.reply(Time::ZERO, ip(1), &cookie(10)).is_some());
        let mut cookies = Cookies::default();
        let large = Bytes::from(vec![0; 1 << 20]);
        (0..100).for_each(|n| cookies.keep(Time::ZERO, ip(1), &cookie(n), &large));
        assert!(cookies.bytes <= NG_REPLIES_BYTES, "{}", cookies.bytes);
        assert!(cookies.reply(Time::ZERO, ip(1), &cookie(99)).is_some());
    }
}
