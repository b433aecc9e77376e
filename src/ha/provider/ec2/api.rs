//! The EC2 API through the SDK: the six calls that tandem makes, and what their errors mean. Provider thread.
//!
//! Every action that is called here stands in `PERMISSIONS`, and in `ami/iam/tandem-pair-policy.json`.

use std::{net::IpAddr, time::Duration};

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_sdk_ec2::{
    Client,
    config::{BehaviorVersion, IdentityCache, Region, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{Filter, NetworkInterface, Route, RouteState},
};
use ipnet::IpNet;

use super::{
    super::ProviderError,
    plan::{Call, Move, Seen, Way},
    retry::{Patience, chain},
};

pub const ASSIGN: &str = "ec2:AssignPrivateIpAddresses";
pub const ASSOCIATE: &str = "ec2:AssociateAddress";
pub const REPLACE: &str = "ec2:ReplaceRoute";
pub const INTERFACES: &str = "ec2:DescribeNetworkInterfaces";
pub const ADDRESSES: &str = "ec2:DescribeAddresses";
pub const TABLES: &str = "ec2:DescribeRouteTables";

/// What the instance's role needs, all ways together.
pub const PERMISSIONS: [&str; 6] = [ASSIGN, ASSOCIATE, REPLACE, INTERFACES, ADDRESSES, TABLES];

pub struct Api {
    client: Client,
    patience: Patience,
}

impl Api {
    pub fn new(
        region: String,
        endpoint: Option<&str>,
        http: SharedHttpClient,
        credentials: ImdsCredentialsProvider,
        patience: Patience,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(patience.connect())
            .read_timeout(patience.attempt)
            .operation_attempt_timeout(patience.attempt)
            .operation_timeout(patience.attempt)
            .build();
        // AWS renews a role's credentials five minutes before they end; the rehearsals of a standby fetch them then, so
        // that a takeover does not have to.
        let identities =
            IdentityCache::lazy().load_timeout(patience.attempt).buffer_time(Duration::from_secs(240)).build();
        let mut config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(credentials)
            .identity_cache(identities)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        config.set_http_client(Some(http));
        config.set_endpoint_url(endpoint.map(str::to_owned));
        Api { client: Client::from_conf(config.build()), patience }
    }

    /// The same with two attempts at each call at most, for what somebody may be waiting behind.
    pub fn hurried(&self) -> Self {
        let attempts = self.patience.attempts.min(2);
        Api { client: self.client.clone(), patience: Patience { attempts, ..self.patience } }
    }

    /// Makes one change. Each is idempotent: that is documented for AssociateAddress, and follows from what the others
    /// ask for, so that one without an answer is asked for again.
    pub async fn make(&self, call: &Call) -> Result<(), ProviderError> {
        self.patience.tried(async || Ok(self.once(call, false).await?)).await
    }

    /// Whether `make` would be allowed, without the change. `primary` is the primary private address of the interface.
    pub async fn rehearse(&self, call: &Call, primary: Option<&str>) -> Result<(), ProviderError> {
        self.patience
            .tried(async || match call {
                Call::Assign { interface, .. } => self.probe(interface, primary).await,
                Call::Associate { .. } | Call::Replace { .. } => match self.once(call, true).await {
                    // API reference, DryRun: with the permission the answer is this error, and nothing happens.
                    Err(failure) if failure.code == "DryRunOperation" => Ok(()),
                    Err(failure) => Err(failure.means),
                    Ok(()) => Err(refused("the API answered a rehearsal as if it had made the change")),
                },
            })
            .await
    }

    async fn once(&self, call: &Call, dry: bool) -> Result<(), Failure> {
        match call {
            Call::Assign { interface, addresses } => {
                let addresses = addresses.iter().map(ToString::to_string).collect();
                self.assign(interface, addresses, true).await
            }
            Call::Associate { interface, allocation, private } => {
                let request = self.client.associate_address().allocation_id(allocation).network_interface_id(interface);
                let request = request.private_ip_address(private.to_string()).allow_reassociation(true).dry_run(dry);
                request.send().await.map(drop).map_err(|error| failure(ASSOCIATE, &error))
            }
            Call::Replace { interface, table, destination } => {
                let request = self.client.replace_route().route_table_id(table).network_interface_id(interface);
                let request = match destination {
                    IpNet::V4(net) => request.destination_cidr_block(net.to_string()),
                    IpNet::V6(net) => request.destination_ipv6_cidr_block(net.to_string()),
                };
                request.dry_run(dry).send().await.map(drop).map_err(|error| failure(REPLACE, &error))
            }
        }
    }

    async fn assign(&self, interface: &str, addresses: Vec<String>, grab: bool) -> Result<(), Failure> {
        let request = self.client.assign_private_ip_addresses().network_interface_id(interface);
        let request = request.set_private_ip_addresses(Some(addresses)).allow_reassignment(grab);
        request.send().await.map(drop).map_err(|error| failure(ASSIGN, &error))
    }

    /// AssignPrivateIpAddresses has no DryRun. So it is asked for what cannot change anything: the interface's own
    /// primary address as a secondary one, without AllowReassignment. Permission is looked at first; that the address is
    /// in use already is then the answer of an API that would have let us.
    async fn probe(&self, interface: &str, primary: Option<&str>) -> Result<(), ProviderError> {
        // Not described: the caller has the reason already.
        let Some(primary) = primary else { return Ok(()) };
        match self.assign(interface, vec![primary.to_owned()], false).await {
            Ok(()) => Ok(()),
            Err(failure) if ["InvalidParameterValue", "InvalidIPAddress.InUse"].contains(&failure.code.as_str()) => {
                Ok(())
            }
            Err(failure) => Err(failure.means),
        }
    }

    /// The interfaces that are named.
    pub async fn interfaces(&self, ids: Vec<String>) -> Result<Vec<NetworkInterface>, ProviderError> {
        let answer = self
            .patience
            .tried(async || {
                let request = self.client.describe_network_interfaces().set_network_interface_ids(Some(ids.clone()));
                request.send().await.map_err(|error| failure(INTERFACES, &error).means)
            })
            .await?;
        Ok(answer.network_interfaces.unwrap_or_default())
    }

    /// Where all of `moves` are.
    pub async fn look(&self, moves: &[Move]) -> Result<Seen, ProviderError> {
        let mut seen = Seen::default();
        let (mut private, mut allocations, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for one in moves {
            match &one.way {
                Way::Secondary => private.push(one.floating.local.to_string()),
                Way::Elastic { allocation } => allocations.push(allocation.clone()),
                Way::Route { tables: of_it, .. } => tables.extend(of_it.iter().cloned()),
            }
        }
        if !private.is_empty() {
            self.private(private, &mut seen).await?;
        }
        if !allocations.is_empty() {
            self.elastic(allocations, &mut seen).await?;
        }
        if !tables.is_empty() {
            tables.sort_unstable();
            tables.dedup();
            self.routes(tables, &mut seen).await?;
        }
        Ok(seen)
    }

    async fn private(&self, addresses: Vec<String>, seen: &mut Seen) -> Result<(), ProviderError> {
        let filter = Filter::builder().name("addresses.private-ip-address").set_values(Some(addresses)).build();
        let answer = self
            .patience
            .tried(async || {
                let request = self.client.describe_network_interfaces().filters(filter.clone());
                request.send().await.map_err(|error| failure(INTERFACES, &error).means)
            })
            .await?;
        for interface in answer.network_interfaces() {
            let (Some(id), Some(vpc)) = (interface.network_interface_id(), interface.vpc_id()) else { continue };
            let addresses = interface.private_ip_addresses().iter().filter_map(|address| address.private_ip_address());
            let addresses = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
            seen.private.extend(addresses.map(|address| (address, id.to_owned(), vpc.to_owned())));
        }
        Ok(())
    }

    async fn elastic(&self, allocations: Vec<String>, seen: &mut Seen) -> Result<(), ProviderError> {
        let answer = self
            .patience
            .tried(async || {
                let request = self.client.describe_addresses().set_allocation_ids(Some(allocations.clone()));
                request.send().await.map_err(|error| failure(ADDRESSES, &error).means)
            })
            .await?;
        for address in answer.addresses() {
            let Some(allocation) = address.allocation_id() else { continue };
            let interface = address.network_interface_id().filter(|id| !id.is_empty());
            let private = address.private_ip_address().and_then(|text| text.parse().ok());
            seen.elastic.insert(allocation.to_owned(), interface.map(|id| (id.to_owned(), private)));
        }
        Ok(())
    }

    async fn routes(&self, tables: Vec<String>, seen: &mut Seen) -> Result<(), ProviderError> {
        let answer = self
            .patience
            .tried(async || {
                let request = self.client.describe_route_tables().set_route_table_ids(Some(tables.clone()));
                request.send().await.map_err(|error| failure(TABLES, &error).means)
            })
            .await?;
        for table in answer.route_tables() {
            let Some(id) = table.route_table_id() else { continue };
            for route in table.routes() {
                if let Some((destination, target)) = leads(route) {
                    seen.routes.insert((id.to_owned(), destination), target);
                }
            }
        }
        Ok(())
    }
}

/// Destination of a route, and the interface or whatever else it leads to.
fn leads(route: &Route) -> Option<(IpNet, String)> {
    let destination = route.destination_cidr_block().or_else(|| route.destination_ipv6_cidr_block())?.parse().ok()?;
    let target = route.network_interface_id().or_else(|| route.gateway_id()).unwrap_or("another kind of target");
    // A blackhole is a target that cannot take packets: an interface that was detached.
    let target = match route.state() {
        Some(RouteState::Blackhole) => format!("{target} (blackhole)"),
        _ => target.to_owned(),
    };
    Some((destination, target))
}

/// An error of one attempt: the API's code for it, empty without an answer, and what follows.
struct Failure {
    code: String,
    means: ProviderError,
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        failure.means
    }
}

fn refused(what: &str) -> ProviderError {
    ProviderError::Refused { what: what.to_owned(), missing: None }
}

/// What an error of the SDK means for the next attempt. `action` is the permission that the call needs.
fn failure<E>(action: &'static str, error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or_default().to_owned();
            let status = answer.raw().status().as_u16();
            let means = meaning(action, &code, answer.err().message().unwrap_or_default(), status);
            Failure { code, means }
        }
        SdkError::ConstructionFailure(_) => {
            Failure { code: String::new(), means: refused(&format!("{action}: {}", chain(error))) }
        }
        // No connection, no answer in time, no credentials yet, half an answer.
        _ => Failure { code: String::new(), means: ProviderError::Unreachable(format!("{action}: {}", chain(error))) },
    }
}

/// API reference, "Error codes": what the client is to do about which.
fn meaning(action: &'static str, code: &str, message: &str, status: u16) -> ProviderError {
    let what = format!("{action}: {code}: {message}");
    match code {
        "UnauthorizedOperation" => {
            ProviderError::Refused { what: format!("{action}: {code}"), missing: Some(action.to_owned()) }
        }
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "EC2ThrottledException"
        | "InternalError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestExpired" => ProviderError::Unreachable(what),
        _ if status >= 500 => ProviderError::Unreachable(what),
        _ => ProviderError::Refused { what, missing: None },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn throttling_and_faults_are_tried_again_the_rest_is_not() {
        for (code, status) in [("RequestLimitExceeded", 503), ("InternalError", 500), ("Unheard.Of", 502)] {
            assert!(matches!(meaning(ASSIGN, code, "", status), ProviderError::Unreachable(_)), "{code}");
        }
        for (code, status) in [("InvalidAllocationID.NotFound", 400), ("AuthFailure", 401)] {
            let missing = None;
            assert!(
                matches!(meaning(ASSIGN, code, "", status), ProviderError::Refused { missing: m, .. } if m == missing)
            );
        }
        let missing = Some(REPLACE.to_owned());
        let what = "ec2:ReplaceRoute: UnauthorizedOperation".to_owned();
        assert_eq!(meaning(REPLACE, "UnauthorizedOperation", "", 403), ProviderError::Refused { what, missing });
    }

    #[test]
    fn the_policy_names_what_is_called_and_nothing_else() {
        let policy: serde_json::Value =
            serde_json::from_str(include_str!("../../../../ami/iam/tandem-pair-policy.json")).unwrap();
        let statements = policy["Statement"].as_array().unwrap();
        assert!(statements.iter().all(|statement| statement["Effect"] == "Allow"));
        let named = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
        let named: Vec<&str> = named.map(|action| action.as_str().unwrap()).collect();
        assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "an action stands twice");
        assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(PERMISSIONS));
    }
}
