//! SIP: messages, session descriptions and the machines above them. Everything here takes bytes and the time and
//! returns decisions; sockets are elsewhere.

pub mod auth;
pub mod b2bua;
pub mod deadlines;
pub mod dialog;
pub mod endpoint;
pub mod flow;
pub mod guard;
pub mod message;
pub mod names;
pub mod outside;
pub mod overload;
pub mod register;
pub mod route;
pub mod sdp;
pub mod transaction;
pub mod trunk;
