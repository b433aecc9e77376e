//! What an instance knows of itself: its region, its network interfaces, whether it has a role. Version 2 of the
//! instance metadata service only: the SDK's client takes a token first and has no way back to version 1. Provider
//! thread.

use std::time::Duration;

use aws_config::{
    imds::{self, client::error::ImdsError, credentials::ImdsCredentialsProvider},
    provider_config::ProviderConfig,
};
use aws_sdk_ec2::config::SharedHttpClient;

use super::{
    super::ProviderError,
    retry::{Patience, chain},
};
use crate::wire::ethernet::Mac;

/// One network interface of this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub mac: Mac,
    /// `eni-…`
    pub id: String,
    pub vpc: String,
}

pub struct Metadata {
    client: imds::Client,
    http: ProviderConfig,
    patience: Patience,
}

impl Metadata {
    pub fn new(endpoint: Option<&str>, http: SharedHttpClient, patience: Patience) -> Result<Self, ProviderError> {
        let http = ProviderConfig::without_region().with_http_client(http);
        // Our own retries around single attempts: the SDK's wait a second before the second one.
        let mut client = imds::Client::builder()
            .configure(&http)
            .max_attempts(1)
            .connect_timeout(patience.connect())
            .read_timeout(patience.attempt)
            .operation_attempt_timeout(patience.attempt)
            .operation_timeout(patience.attempt + Duration::from_millis(100));
        if let Some(endpoint) = endpoint {
            client = client
                .endpoint(endpoint)
                .map_err(|error| ProviderError::Refused { what: format!("ha.ec2.metadata: {error}"), missing: None })?;
        }
        Ok(Metadata { client: client.build(), http, patience })
    }

    /// The credentials of the instance's role, and of nobody else: no files, no environment.
    pub fn credentials(&self) -> ImdsCredentialsProvider {
        ImdsCredentialsProvider::builder().configure(&self.http).imds_client(self.client.clone()).build()
    }

    /// The region, in which the API is called.
    pub async fn region(&self) -> Result<String, ProviderError> {
        self.needed("placement/region").await
    }

    /// Name of the instance's role: without one, no call would be signed.
    pub async fn role(&self) -> Result<String, ProviderError> {
        let role = self.line("iam/security-credentials/").await?;
        role.ok_or_else(|| refused("this instance has no IAM role: attach an instance profile"))
    }

    pub async fn interfaces(&self) -> Result<Vec<Interface>, ProviderError> {
        const MACS: &str = "network/interfaces/macs/";
        let list = self.needed(MACS).await?;
        let mut found = Vec::new();
        for text in list.lines().map(|line| line.trim_end_matches('/')) {
            let mac = mac(text).ok_or_else(|| refused(&format!("the metadata service names {text:?} as a MAC")))?;
            let id = self.needed(&format!("{MACS}{text}/interface-id")).await?;
            let vpc = self.needed(&format!("{MACS}{text}/vpc-id")).await?;
            found.push(Interface { mac, id, vpc });
        }
        Ok(found)
    }

    async fn needed(&self, path: &str) -> Result<String, ProviderError> {
        self.line(path).await?.ok_or_else(|| refused(&format!("the metadata service has no {path}")))
    }

    /// `None` where the service says that there is no such thing.
    async fn line(&self, path: &str) -> Result<Option<String>, ProviderError> {
        let full = format!("/latest/meta-data/{path}");
        self.patience
            .tried(async || match self.client.get(full.as_str()).await {
                Ok(text) => Ok(Some(text.as_ref().trim().to_owned())),
                Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => Ok(None),
                // 403: the service is switched off for this instance.
                Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 403 => {
                    Err(refused("the instance metadata service is switched off for this instance"))
                }
                Err(error) => Err(ProviderError::Unreachable(format!("instance metadata: {path}: {}", chain(&error)))),
            })
            .await
    }
}

fn refused(what: &str) -> ProviderError {
    ProviderError::Refused { what: what.to_owned(), missing: None }
}

fn mac(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_six_bytes_in_hexadecimal() {
        assert_eq!(mac("0e:49:61:0f:c3:11"), Some([0x0e, 0x49, 0x61, 0x0f, 0xc3, 0x11]));
        for wrong in ["", "0e:49:61:0f:c3", "0e:49:61:0f:c3:11:22", "0e:49:61:0f:c3:1", "0e:49:61:0f:c3:zz"] {
            assert_eq!(mac(wrong), None, "{wrong}");
        }
    }
}
