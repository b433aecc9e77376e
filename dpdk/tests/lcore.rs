//! Worker lcores that share a CPU, threads the EAL does not know, timers, shared memory, the time-stamp counter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use dpdk_sys::{Eal, EalArgs, Error, lcore, memzone};

#[test]
fn lcores_run_jobs_and_share_memory() {
    let mut arguments = EalArgs::ordinary(64, 0);
    arguments.lcores = vec![(0, 0), (1, 0), (2, 0)];
    let eal = Eal::start(&arguments).unwrap();
    assert_eq!(lcore::current(), Some(0));
    assert!(eal.on_main());

    let table = memzone::reserve(&eal, "table", 1000, None).unwrap();
    assert_eq!((table.len(), table.as_ptr() as usize % 64), (1000, 0));
    assert!(table.iter().all(|w| w.load(Ordering::Relaxed) == 0));
    assert!(memzone::reserve(&eal, "table", 1, None).is_err(), "names are used once");
    assert!(matches!(memzone::reserve(&eal, "none", 0, None), Err(Error::Limit { .. })));
    assert!(matches!(memzone::reserve(&eal, "vast", 1 << 40, None), Err(Error::Call { .. })));

    let (said, heard) = mpsc::channel();
    let jobs: Vec<_> = [1u16, 2]
        .map(|id| {
            let said = said.clone();
            lcore::launch(
                &eal,
                id,
                Box::new(move || {
                    table[usize::from(id)].fetch_add(u64::from(id) * 10, Ordering::Relaxed);
                    let _ = said.send((lcore::current(), eal.on_main(), eal.run_timers()));
                }),
            )
            .unwrap()
        })
        .into();
    for job in jobs {
        job.wait(&eal).unwrap();
    }
    let mut answers: Vec<_> = heard.try_iter().collect();
    answers.sort_by_key(|a| a.0);
    assert_eq!(
        answers,
        [(Some(1), false, Err(Error::NotMain)), (Some(2), false, Err(Error::NotMain))],
        "each ran on its own lcore, and timers belong to the main one"
    );
    assert_eq!(table[1].load(Ordering::Relaxed) + table[2].load(Ordering::Relaxed), 30);
    eal.run_timers().unwrap();

    // A worker has one job at a time; a job that was refused is dropped, not lost.
    let (go, wait) = mpsc::channel::<()>();
    let busy = lcore::launch(&eal, 1, Box::new(move || wait.recv().unwrap_or_default())).unwrap();
    let counted = Arc::new(AtomicU64::new(0));
    let kept = counted.clone();
    let refused = lcore::launch(&eal, 1, Box::new(move || drop(kept)));
    assert!(matches!(refused, Err(Error::Call { call: "rte_eal_remote_launch", .. })));
    assert_eq!(Arc::strong_count(&counted), 1);
    go.send(()).unwrap();
    busy.wait(&eal).unwrap();
    assert_eq!(lcore::launch(&eal, 0, Box::new(|| ())).err(), Some(Error::NoLcore(0)));
    assert_eq!(lcore::launch(&eal, 9, Box::new(|| ())).err(), Some(Error::NoLcore(9)));
    assert_eq!(lcore::launch(&eal, 999, Box::new(|| ())).err(), Some(Error::NoLcore(999)));

    // A thread of our own.
    let thread = std::thread::spawn(move || {
        let before = lcore::current();
        let guard = lcore::register(&eal).unwrap();
        let during = lcore::current();
        let launch = lcore::launch(&eal, 1, Box::new(|| ())).err();
        drop(guard);
        (before, during.is_some(), lcore::current(), launch)
    });
    assert_eq!(thread.join().unwrap(), (None, true, None, Some(Error::NotMain)));

    // The counter agrees with the system's clock.
    let (start, ticks) = (Instant::now(), eal.ticks());
    std::thread::sleep(Duration::from_millis(100));
    let (spent, ticks) = (start.elapsed().as_secs_f64(), eal.ticks() - ticks);
    let measured = ticks as f64 / eal.ticks_per_second() as f64;
    assert!((measured / spent - 1.0).abs() < 0.02, "{measured} s by the counter, {spent} s by the clock");
}
