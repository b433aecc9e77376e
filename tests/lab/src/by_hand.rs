//! The laboratory for a person: it stays up until it is interrupted. Main thread; the signal thread cleans up.

use std::time::Duration;

use anyhow::Result;

use crate::{
    appliance::Device,
    lab::{End, Frame, Lab, Plan},
    law::Law,
    topology::{CALLEE, CALLER, TANDEM_A, TANDEM_B},
};

/// Lays the ground and keeps the appliance running; with `calls`, calls keep coming.
pub fn hold(frame: &Frame, device: Device, calls: bool) -> Result<()> {
    let mut lab = Lab::open(frame, Plan::new(device), "by-hand")?;
    println!("caller {CALLER} in namespace {}", lab.ground.caller.name);
    println!("tandem {TANDEM_A} and {TANDEM_B} in namespace {}", lab.ground.tandem.name);
    println!("callee {CALLEE} in namespace {}", lab.ground.callee.name);
    println!("configuration, log, admin socket: {}", lab.room.display());
    println!("ready");
    loop {
        if calls {
            round(&mut lab)?;
        } else {
            std::thread::sleep(Duration::from_secs(1));
            if !lab.is_stand_in() && lab.appliance()?.process.ended()?.is_some() {
                anyhow::bail!("tandem ended: {}", lab.appliance()?.process.tail());
            }
        }
    }
}

/// Ten calls with speech both ways.
fn round(lab: &mut Lab<'_>) -> Result<()> {
    let mu = lab.speech(Law::Mu, Duration::from_secs(60))?;
    let a = lab.speech(Law::A, Duration::from_secs(60))?;
    let (mut caller, mut callee) = (lab.caller(Law::Mu).plays(&mu), lab.callee(Law::A).plays(&a));
    (caller.calls, caller.rate, callee.calls) = (10, 2, 10);
    if let Err(error) = lab.call(&caller, &callee) {
        println!("{error:#}");
    }
    for end in End::BOTH {
        lab.tap(end).forget();
    }
    Ok(())
}
