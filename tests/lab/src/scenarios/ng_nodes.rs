//! Media driven by the ng protocol on two appliances: nodes that share calls by their weights, and a pair.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};

use super::{
    ng::{acquaint, proxy},
    pair::{MEDIAN, WORST, print_gaps},
};
use crate::{
    appliance::{Appliance, NODES, Samples},
    lab::{End, Lab, Plan},
    net::Namespace,
    ng::Client,
    pair::median_and_worst,
    runner::Scenario,
    talk::{Calls, Talk, dialled, listed},
    topology::{Between, HOSTS, TANDEM_A, TANDEM_B},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "ng_nodes",
            "Two nodes behind one Kamailio share calls by their weights; one is killed while calls arrive: new calls go to the \
             other, whose calls lose nothing",
            weights,
        )
        .prepared(|plan| plan.between = Between::Nodes)
        .needing("kamailio")
        .alone(),
    ]
}

/// For the suite of the pair.
pub fn of_a_pair() -> Scenario {
    Scenario::new(
        "pair_kill_ng",
        "kill -9 of the active, 100 calls talking that Kamailio set up by ng: all go on, and the standby ends them",
        kill,
    )
    .prepared(floating)
    .needing("kamailio")
    .alone()
}

const fn host(net: u8, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 18, net, host))
}

const PROXY_HOST: [IpAddr; 2] = [host(1, 30), host(2, 30)];
const PROXY: SocketAddr = SocketAddr::new(PROXY_HOST[0], 5070);
/// Where nodes are asked, as docs/kamailio-ng.cfg has it.
const CONTROL: u16 = 2223;
/// The first node's weight is two, the second one's one.
const KILLED: usize = 0;
const CALLS: u32 = 100;
const PER_SECOND: u32 = 20;
/// Calls that talk when one node is killed: the others are still to come.
const BEFORE: u32 = 40;

fn control(of: IpAddr) -> SocketAddr {
    SocketAddr::new(of, CONTROL)
}

/// The address of a node on a network.
fn node_at(net: u8, node: usize) -> IpAddr {
    host(net, HOSTS[node])
}

/// A node that does nothing but what proxies tell it.
fn configuration(lab: &Lab<'_>, node: usize) -> String {
    let mut toml = format!(
        "[node]\nname = \"{}\"\n\n[dpdk]\nhugepages = false\nmemory_mb = 512\nmbufs = 32767\n\n\
         [cores]\nworkers = [1]\nslow = 0\npoll = \"adaptive\"\n",
        NODES[node]
    );
    for (index, (net, name)) in [(1, "a4"), (2, "b4")].into_iter().enumerate() {
        let at = node_at(net, node);
        let device = lab.setup.device.vdev(index, 1);
        let _ = write!(
            toml,
            "\n[[port]]\nname = \"port{index}\"\ndevice = \"{device}\"\nexception = \"tandem{index}\"\naddresses = [\"{at}/24\"]\n\
             \n[[address]]\nname = \"{name}\"\nport = \"port{index}\"\nlocal = \"{at}\"\n"
        );
    }
    let room = lab.room.join(NODES[node]);
    let _ = write!(
        toml,
        "\n[media]\nports = {{ low = 20000, high = 27999 }}\n\n[sip]\n\n[[sip.listen]]\naddress = \"b4\"\n\n[metrics]\nlisten = \"127.0.0.1:9464\"\n\n\
         [ng]\nudp = [\"{}\"]\nallow = [\"{}/32\"]\nmedia = [\"a4\"]\n\n[admin]\nsocket = \"{}/admin.sock\"\n",
        control(node_at(2, node)),
        PROXY_HOST[1],
        room.display()
    );
    toml
}

fn start_nodes(lab: &mut Lab<'_>) -> Result<()> {
    let binary = lab.frame.binary.clone().context("nodes need the appliance")?;
    let second = lab.ground.second.as_ref().context("this ground has one node")?;
    for (node, namespace) in [&lab.ground.tandem, second].into_iter().enumerate() {
        let room = lab.room.join(NODES[node]);
        std::fs::create_dir_all(&room)?;
        let started = Appliance::start_with(&binary, &configuration(lab, node), &namespace.name, &room)?;
        lab.nodes[node] = Some(started);
    }
    // Dead nodes answer no ARP: phones that send to one go on to.
    for phones in [&lab.ground.caller, &lab.ground.callee] {
        phones.sysctl("net.ipv4.neigh.eth0.base_reachable_time_ms", "600000")?;
    }
    let all = (0..2).flat_map(|node| [(End::Near, node_at(1, node)), (End::Far, node_at(2, node))]);
    acquaint(lab, &all.collect::<Vec<_>>())
}

fn client(host: &Namespace, node: usize) -> Result<Client> {
    Client::open(host, control(node_at(2, node)))
}

fn weights(lab: &mut Lab<'_>) -> Result<String> {
    start_nodes(lab)?;
    let host = lab.ground.host("proxy", PROXY_HOST)?;
    let _kamailio = proxy(lab, &host, PROXY, Some("NODES"))?;
    let mut clients = [client(&host, 0)?, client(&host, 1)?];
    let survivor = 1 - KILLED;

    let mut talk = Talk::begin(lab, Calls { proxy: PROXY, count: CALLS, per_second: PER_SECOND, held_s: 4 })?;
    talk.until(BEFORE)?;
    let before = [listed(&mut clients[0])?, listed(&mut clients[1])?];
    let begun: BTreeSet<String> = lab.tap(End::Near).book().dialogs.by_call_id.keys().cloned().collect();
    lab.kill(KILLED)?;
    talk.until(CALLS)?;
    let survived = listed(&mut clients[survivor])?;
    talk.finish()?;

    ensure!(
        before[0].len() > before[1].len() && !before[1].is_empty(),
        "with the weights 2 and 1 the nodes had {} and {} calls",
        before[0].len(),
        before[1].len()
    );
    let all: BTreeSet<String> = lab.tap(End::Near).book().dialogs.by_call_id.keys().cloned().collect();
    let new: BTreeSet<String> = all.difference(&begun).cloned().collect();
    ensure!(
        all.len() == CALLS as usize && new.len() > CALLS as usize / 4,
        "{} of {} calls are new",
        new.len(),
        all.len()
    );
    let astray: Vec<&String> = new.difference(&survived).collect();
    ensure!(astray.is_empty(), "{} new calls did not go to {}: {astray:?}", astray.len(), NODES[survivor]);
    ensure!(before[survivor].is_subset(&survived), "{} lost calls", NODES[survivor]);
    let found = talk.demand_perfect(lab, &dialled(lab, &survived))?;
    let left = listed(&mut clients[survivor])?;
    ensure!(left.is_empty(), "calls are left behind: {left:?}");
    Ok(format!(
        "{} and {} calls by the weights 2 and 1; after the kill {} new ones to {}; its {} calls {found}",
        before[0].len(),
        before[1].len(),
        new.len(),
        NODES[survivor],
        survived.len(),
    ))
}

fn floating(plan: &mut Plan) {
    plan.between = Between::Pair;
    plan.setup.extra =
        format!("\n[ng]\nudp = [\"{}\"]\nallow = [\"{}/32\"]\nmedia = [\"a4\"]\n", control(TANDEM_B), PROXY_HOST[1]);
}

/// Calls that are queried and ended by hand after the kill, before the proxy's own BYE comes to it.
fn kill(lab: &mut Lab<'_>) -> Result<String> {
    let active = lab.active().context("not exactly one is active")?;
    let host = lab.ground.host("proxy", PROXY_HOST)?;
    let _kamailio = proxy(lab, &host, PROXY, Some("PAIR"))?;
    acquaint(lab, &[(End::Near, TANDEM_A), (End::Far, TANDEM_B)])?;
    let mut client = Client::open(&host, control(TANDEM_B))?;

    let calls = Calls { proxy: PROXY, count: CALLS, per_second: PER_SECOND, held_s: 8 };
    let mut talk = Talk::begin(lab, calls)?;
    talk.until(CALLS)?;
    let before = listed(&mut client)?;
    ensure!(before.len() == CALLS as usize, "{} calls are listed, not {CALLS}", before.len());
    std::thread::sleep(Duration::from_secs(2));
    let at = lab.kill(active)?;
    lab.wait_for_active(1 - active, Duration::from_secs(5))?;

    let after = listed(&mut client)?;
    ensure!(after == before, "the standby knows {} of {} calls", after.intersection(&before).count(), before.len());
    let one = before.first().context("no call")?;
    let told = client.ask(&json!({ "command": "query", "call-id": one }))?;
    let tags = told["tags"].as_object().map_or(0, Map::len);
    ensure!(told["result"] == "ok" && tags == 2, "the standby says of a call: {told}");
    talk.finish()?;

    let numbers: BTreeSet<String> = calls.numbers().collect();
    let mut found = Vec::new();
    for (way, hearing, end) in [("there", End::Far, End::Near), ("back", End::Near, End::Far)] {
        let gaps = lab.gaps(hearing, &talk.ssrcs(end, &numbers), at)?;
        print_gaps(way, &gaps);
        let (median, worst) = median_and_worst(&gaps);
        ensure!(median < MEDIAN && worst < WORST, "{way}: the median gap is {median:?}, the worst {worst:?}");
        found.push(format!("{way}: gap of {median:.0?} in the middle, {worst:.0?} at worst"));
    }
    for heard in talk.heard(lab, &numbers) {
        let whole = heard.differing_bytes + heard.differing_headers + heard.surplus == 0;
        ensure!(whole, "something was heard that was not said: {heard}");
    }
    // Kamailio's deletes, one with each BYE, were carried out by the standby; one for a call that it no longer has says so.
    let left = listed(&mut client)?;
    ensure!(left.is_empty(), "calls are left behind: {left:?}");
    let again = client.ask(&json!({ "command": "delete", "call-id": one, "flags": ["fatal"] }))?;
    ensure!(again["result"] == "error", "a call that has ended is deleted again: {again}");
    let deleted = sum_of(&lab.node(1 - active)?.metrics()?, "delete");
    ensure!(deleted >= f64::from(CALLS), "the standby carried out {deleted} deletes");
    Ok(format!("{CALLS} calls went on, and were queried and ended on the standby; {}", found.join("; ")))
}

fn sum_of(samples: &Samples, command: &str) -> f64 {
    let wanted = format!("\"{command}\"");
    let ours = |name: &str| name.starts_with("tandem_ng_commands_total") && name.contains(&wanted);
    samples.iter().filter(|(name, _)| ours(name)).map(|(_, value)| value).sum()
}
