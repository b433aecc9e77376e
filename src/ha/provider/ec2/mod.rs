//! `ec2`: floating addresses move by the EC2 API. The API is asynchronous, the last writer wins, and it has no
//! compare-and-set: so a claim says that the API took the order, and `confirm` says what came of it.
//!
//! - `plan`: which calls move which addresses, and what the answers say of where they are.
//! - `metadata`: what the instance knows of itself.
//! - `api`: the calls, and what their errors mean.
//! - `rehearsal`: every call of a claim without its effect.
//! - `retry`: how long is waited and how often it is tried.
//!
//! The provider's thread owns all of it, and a runtime that turns only while a call here blocks on it. What always holds:
//! whatever the network does, each call of the API ends after `attempts` times `attempt` and the pauses between.

mod api;
mod metadata;
mod plan;
mod rehearsal;
mod retry;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_smithy_http_client::tls;
use tokio::{
    runtime::{Builder, Runtime},
    task::LocalSet,
};

use self::{
    api::Api,
    metadata::{Interface, Metadata},
    plan::{Call, Move},
    retry::Patience,
};
pub use self::{
    api::PERMISSIONS,
    plan::{Choice, Target, Way},
};
use super::{Floating, Place, Places, Provider, ProviderError};
use crate::{
    config::{Config, Ec2Way, HaEc2},
    ha::generation::Generation,
    wire::ethernet::Mac,
};

/// What the provider works from: `[ha.ec2]`, with the names of the configuration resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub metadata: Option<String>,
    pub attempt: Duration,
    pub attempts: u32,
    pub targets: Vec<Target>,
}

impl Settings {
    /// `mac` tells the MAC of a port by its name.
    pub fn of(ec2: &HaEc2, config: &Config, mac: impl Fn(&str) -> Option<Mac>) -> Result<Self, ProviderError> {
        let mut targets = Vec::new();
        for entry in &ec2.addresses {
            let name = &entry.name;
            let Some(address) = config.addresses.iter().find(|address| address.name == *name) else {
                return Err(refused(format!("ha.ec2.address: there is no address {name:?}")));
            };
            let interface = match (&entry.interface, mac(&address.port)) {
                (Some(id), _) => Choice::Id(id.clone()),
                (None, Some(mac)) => Choice::Mac(mac),
                (None, None) => return Err(refused(format!("the MAC of port {:?} is not known", address.port))),
            };
            let way = match entry.by {
                Ec2Way::Secondary => Way::Secondary,
                Ec2Way::Elastic => Way::Elastic { allocation: entry.allocation.clone().unwrap_or_default() },
                Ec2Way::Route => Way::Route {
                    tables: entry.tables.clone(),
                    destination: entry.destination.unwrap_or_else(|| address.local.into()),
                },
            };
            let floating = Floating { name: name.clone(), local: address.local, advertise: address.advertise };
            targets.push(Target { floating, interface, way });
        }
        Ok(Settings {
            region: ec2.region.clone(),
            endpoint: ec2.endpoint.clone(),
            metadata: ec2.metadata.clone(),
            attempt: Duration::from_millis(u64::from(ec2.attempt_ms)),
            attempts: ec2.attempts,
            targets,
        })
    }

    fn patience(&self) -> Patience {
        Patience { attempt: self.attempt, attempts: self.attempts.max(1) }
    }
}

/// What was found out once: who we are, and a client whose connection stays open between two calls.
struct Known {
    api: Api,
    moves: Vec<Move>,
}

pub struct Ec2 {
    settings: Settings,
    runtime: Runtime,
    known: Option<Arc<Known>>,
}

impl Ec2 {
    /// Asks nobody yet: a host whose API does not answer starts all the same.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Ec2 { settings, runtime, known: None })
    }

    fn known(&mut self) -> Result<Arc<Known>, ProviderError> {
        if let Some(known) = &self.known {
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(self.runtime.block_on(find(&self.settings))?);
        self.known = Some(Arc::clone(&known));
        Ok(known)
    }

    /// What was refused is looked up anew next time: an interface may have been replaced since.
    fn remember<T>(&mut self, result: Result<T, ProviderError>) -> Result<T, ProviderError> {
        if matches!(result, Err(ProviderError::Refused { .. })) {
            self.known = None;
        }
        result
    }
}

impl Provider for Ec2 {
    fn name(&self) -> &'static str {
        "ec2"
    }

    fn claim(&mut self, generation: &Generation) -> Result<(), ProviderError> {
        let begun = Instant::now();
        let result = self.known().and_then(|known| {
            let made =
                all_at_once(&self.runtime, &known, async |known: &Known, call: &Call| known.api.make(call).await);
            let mut left = failed(known.moves.len(), &made);
            if left.iter().any(Option::is_some) {
                // What was refused or not answered may be so all the same: a late answer, or nothing left to change.
                if let Ok(seen) = self.runtime.block_on(known.api.hurried().look(&known.moves)) {
                    for (one, why) in known.moves.iter().zip(&mut left) {
                        why.take_if(|_| seen.place(one) == Place::Here);
                    }
                }
            }
            outcome(&left)
        });
        let took_ms = begun.elapsed().as_millis();
        match &result {
            Ok(()) => tracing::info!(%generation, took_ms, "ec2: floating addresses claimed"),
            Err(error) => tracing::warn!(%generation, took_ms, %error, "ec2: claim failed"),
        }
        self.remember(result)
    }

    fn confirm(&mut self) -> Result<Places, ProviderError> {
        let known = self.known()?;
        let result = self.runtime.block_on(known.api.look(&known.moves));
        let seen = self.remember(result)?;
        Ok(known.moves.iter().map(|one| (one.floating.clone(), seen.place(one))).collect())
    }

    fn rehearse(&mut self) -> Result<(), ProviderError> {
        let known = self.known()?;
        let result = rehearsal::rehearse(&self.runtime, &known);
        self.remember(result)
    }

    fn is_witness(&self) -> bool {
        true
    }
}

/// Who we are: one client for the metadata and the API, and the interface of each target.
async fn find(settings: &Settings) -> Result<Known, ProviderError> {
    // `ring`, as for SIP over TLS: one library of cryptography in the appliance.
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(ring).build_https();
    let metadata = Metadata::new(settings.metadata.as_deref(), http.clone(), settings.patience())?;
    let region = match &settings.region {
        Some(region) => region.clone(),
        None => metadata.region().await?,
    };
    let role = metadata.role().await?;
    let interfaces = metadata.interfaces().await?;
    let moves = settings.targets.iter().map(|target| resolve(target, &interfaces)).collect::<Result<Vec<_>, _>>()?;
    tracing::debug!(region, role, interfaces = ?moves.iter().map(|one| &one.interface).collect::<Vec<_>>(), "ec2: known");
    let api = Api::new(region, settings.endpoint.as_deref(), http, metadata.credentials(), settings.patience());
    Ok(Known { api, moves })
}

/// An address must not be claimed for an interface that is not this host's: nobody would answer there.
fn resolve(target: &Target, interfaces: &[Interface]) -> Result<Move, ProviderError> {
    let found = interfaces.iter().find(|interface| match &target.interface {
        Choice::Id(id) => interface.id == *id,
        Choice::Mac(mac) => interface.mac == *mac,
    });
    let Some(interface) = found else {
        let sought = match &target.interface {
            Choice::Id(id) => id.clone(),
            Choice::Mac([a, b, c, d, e, f]) => format!("with MAC {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        };
        let name = &target.floating.name;
        return Err(refused(format!("no network interface {sought} on this instance, for address {name:?}")));
    };
    Ok(Move {
        floating: target.floating.clone(),
        way: target.way.clone(),
        interface: interface.id.clone(),
        vpc: interface.vpc.clone(),
    })
}

type Made = Vec<(Vec<usize>, Result<(), ProviderError>)>;

/// Does one thing with every call of the plan, all of them at once: several addresses take as long as the slowest.
fn all_at_once(
    runtime: &Runtime,
    known: &Arc<Known>,
    what: impl AsyncFn(&Known, &Call) -> Result<(), ProviderError> + Clone + 'static,
) -> Made {
    let here = LocalSet::new();
    let running: Vec<_> = plan::calls(&known.moves)
        .into_iter()
        .map(|(call, needed_by)| {
            let (known, what) = (Arc::clone(known), what.clone());
            (needed_by, here.spawn_local(async move { what(&known, &call).await }))
        })
        .collect();
    here.block_on(runtime, async move {
        let mut made = Vec::new();
        for (needed_by, task) in running {
            let result = task.await.unwrap_or_else(|error| Err(ProviderError::Unreachable(error.to_string())));
            made.push((needed_by, result));
        }
        made
    })
}

/// For each of `all` addresses the first reason why it is not here.
fn failed(all: usize, made: &Made) -> Vec<Option<ProviderError>> {
    let mut left = vec![None; all];
    for (needed_by, result) in made {
        for &index in needed_by {
            if let (Err(error), Some(why)) = (result, left.get_mut(index)) {
                why.get_or_insert_with(|| error.clone());
            }
        }
    }
    left
}

/// None left: fine. Some: partial. All: the worst of the reasons.
fn outcome(left: &[Option<ProviderError>]) -> Result<(), ProviderError> {
    let missing = left.iter().flatten().count();
    match worst(left.iter().flatten()) {
        None => Ok(()),
        Some(why) if missing < left.len() => {
            Err(ProviderError::Partial { moved: left.len() - missing, all: left.len(), what: why.to_string() })
        }
        Some(why) => Err(why.clone()),
    }
}

/// A refusal before anything else, for trying again does not help it; one that names a permission before others.
fn worst<'a>(why: impl Iterator<Item = &'a ProviderError>) -> Option<&'a ProviderError> {
    why.min_by_key(|error| match error {
        ProviderError::Refused { missing: Some(_), .. } => 0,
        ProviderError::Refused { missing: None, .. } => 1,
        ProviderError::Partial { .. } | ProviderError::Unreachable(_) => 2,
    })
}

fn refused(what: String) -> ProviderError {
    ProviderError::Refused { what, missing: None }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{config::parse, host::Host};

    const EXAMPLE: &str = include_str!("../../../../docs/tandem.example.toml");

    fn settings(table: &str, mac: Option<Mac>) -> Result<Settings, ProviderError> {
        let reading = parse(Path::new("t.toml"), EXAMPLE, &Host { cpus: None });
        Settings::of(&toml::from_str(table).unwrap(), &reading.config.unwrap(), |port| {
            mac.filter(|_| port == "outside")
        })
    }

    #[test]
    fn names_of_the_configuration_become_addresses_and_interfaces() {
        let table = "region = \"eu-central-1\"\nattempt_ms = 700\n\
            [[address]]\nname = \"public\"\nby = \"elastic\"\nallocation = \"eipalloc-01234567\"\n\
            [[address]]\nname = \"public6\"\nby = \"route\"\ntables = [\"rtb-01234567\"]\n\
            [[address]]\nname = \"core\"\nby = \"secondary\"\ninterface = \"eni-01234567\"\n";
        let mac = [2, 0, 0, 0, 0, 0xa];
        let settings = settings(table, Some(mac)).unwrap();
        assert_eq!((settings.attempt, settings.attempts), (Duration::from_millis(700), 4));
        let [public, six, core] = settings.targets.as_slice() else { panic!("{:?}", settings.targets) };
        assert_eq!(public.floating.local.to_string(), "198.18.1.10");
        assert_eq!(public.floating.advertise.unwrap().to_string(), "203.0.113.10");
        assert_eq!(public.interface, Choice::Mac(mac));
        assert_eq!(public.way, Way::Elastic { allocation: "eipalloc-01234567".into() });
        let tables = vec!["rtb-01234567".to_owned()];
        assert_eq!(six.way, Way::Route { tables, destination: "2001:db8:1::10/128".parse().unwrap() });
        assert_eq!((&core.interface, &core.way), (&Choice::Id("eni-01234567".into()), &Way::Secondary));
    }

    #[test]
    fn a_port_without_a_mac_is_told() {
        let table = "[[address]]\nname = \"public\"\nby = \"secondary\"\n";
        let error = settings(table, None).unwrap_err();
        assert_eq!(error.to_string(), "the MAC of port \"outside\" is not known");
    }

    #[test]
    fn a_claim_is_as_bad_as_its_worst_part() {
        let away = || Some(ProviderError::Unreachable("away".into()));
        let forbidden = || {
            let missing = Some("ec2:ReplaceRoute".to_owned());
            Some(ProviderError::Refused { what: "no".into(), missing })
        };
        assert_eq!(outcome(&[None, None]), Ok(()));
        assert_eq!(outcome(&[away(), forbidden(), away()]).unwrap_err(), forbidden().unwrap());
        assert_eq!(outcome(&[away(), away()]).unwrap_err(), away().unwrap());
        let what = "no (the permission ec2:ReplaceRoute is missing)".to_owned();
        assert_eq!(outcome(&[away(), None, forbidden()]), Err(ProviderError::Partial { moved: 1, all: 3, what }));
    }
}
