//! A plan as people read it: who sits where, and a sentence for each choice.

use std::fmt::Write;

use crate::{
    cli::table::{Table, or_dash, plain},
    host::{
        CpuSet,
        picture::Picture,
        plan::{Plan, Planning, Trouble, named},
    },
};

pub(super) fn text(picture: &Picture, planning: &Planning) -> String {
    let mut text = troubles(&planning.troubles);
    let Some(plan) = &planning.plan else { return text + "no plan\n" };
    if !text.is_empty() {
        text.push('\n');
    }
    let machine = plan.machine.as_deref().unwrap_or("this machine");
    let online = picture.online();
    // Writing to a String does not fail.
    let _ = writeln!(text, "Plan for {}: {} on {} online.\n", plain(machine), named(&online), nodes(picture));
    text + &seats(picture, plan) + "\n" + &choices(plan)
}

fn nodes(picture: &Picture) -> String {
    match picture.nodes.len() {
        1 => "one node".to_owned(),
        number => format!("{number} nodes"),
    }
}

/// One line each: `error: port eth0: …`.
pub(super) fn troubles(troubles: &[Trouble]) -> String {
    let word = |trouble: &Trouble| if trouble.grave { "error" } else { "warning" };
    troubles.iter().map(|trouble| format!("{}: {}: {}\n", word(trouble), trouble.about, trouble.says)).collect()
}

fn seats(picture: &Picture, plan: &Plan) -> String {
    let mut table = Table::new(&["WHO", "CPUS", "NODE", "CORE SHARED WITH"]);
    let seats = &plan.seats;
    for (number, cpu) in seats.workers.iter().enumerate() {
        table.row([format!("worker {number}"), cpu.to_string(), node(picture, *cpu), company(picture, plan, *cpu)]);
    }
    for (who, cpu) in [("slow path", seats.slow), ("pair thread", seats.pair)] {
        table.row([who.into(), cpu.to_string(), node(picture, cpu), company(picture, plan, cpu)]);
    }
    table.row([
        "housekeeping".into(),
        seats.housekeeping.to_string(),
        nodes_of(picture, &seats.housekeeping),
        String::new(),
    ]);
    if !seats.idle.is_empty() {
        table.row(["nobody".into(), seats.idle.to_string(), nodes_of(picture, &seats.idle), String::new()]);
    }
    table.render()
}

fn node(picture: &Picture, cpu: u16) -> String {
    or_dash(picture.node_of(cpu))
}

fn nodes_of(picture: &Picture, cpus: &CpuSet) -> String {
    let nodes: CpuSet = cpus.iter().filter_map(|cpu| picture.node_of(cpu)).collect();
    nodes.to_string()
}

/// Who else uses the core, if anybody.
fn company(picture: &Picture, plan: &Plan, cpu: u16) -> String {
    let siblings = picture.cpu(cpu).map(|cpu| cpu.siblings.clone()).unwrap_or_default();
    let others = siblings.less(&[cpu].into_iter().collect());
    let busy = others.less(&plan.seats.idle);
    let own = if plan.seats.housekeeping.contains(cpu) { "everything else" } else { "" };
    match (own.is_empty(), busy.is_empty()) {
        (_, true) => own.to_owned(),
        (true, false) => named(&busy),
        (false, false) => format!("{own}, {}", named(&busy)),
    }
}

fn choices(plan: &Plan) -> String {
    let mut table = Table::new(&["CHOICE", "", "WHY"]);
    for choice in &plan.choices {
        table.row([choice.what.clone(), choice.value.clone(), choice.why.clone()]);
    }
    table.render()
}
