//! Finds the distribution's DPDK with pkg-config, writes the bindings by name, compiles the shim.
//!
//! The raw `--cflags` go to both compilers as they are: they carry `-include rte_config.h` and `-march=…`, without
//! which structures have another layout, and which the pkg-config crate drops. Linking is dynamic: the EAL then loads
//! every driver from its plug-in folder, ENA among them.

use std::{env, path::PathBuf, process::Command};

const PACKAGES: &str = "apt-get install libdpdk-dev libclang-dev clang pkg-config";

/// What is referred to by the wrappers; the EAL loads drivers and buses by itself.
const LIBRARIES: [&str; 6] = ["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_timer", "rte_eal"];

const FUNCTIONS: &str = "td_.*|rte_eal_init|rte_eal_remote_launch|rte_eal_wait_lcore|rte_eal_hotplug_add|\
rte_eal_hotplug_remove|rte_version|rte_strerror|rte_lcore_is_enabled|rte_get_main_lcore|rte_lcore_to_socket_id|\
rte_thread_register|rte_thread_unregister|rte_get_tsc_hz|rte_timer_subsystem_init|rte_timer_manage|\
rte_mempool_avail_count|rte_mempool_in_use_count|rte_ring_create|rte_ring_free|\
rte_memzone_reserve_aligned|rte_eth_dev_get_port_by_name|rte_eth_dev_info_get|rte_eth_dev_configure|\
rte_eth_dev_adjust_nb_rx_tx_desc|rte_eth_rx_queue_setup|rte_eth_tx_queue_setup|rte_eth_dev_start|rte_eth_dev_stop|\
rte_eth_dev_close|rte_eth_dev_socket_id|rte_eth_macaddr_get|rte_eth_dev_get_mtu|rte_eth_dev_set_mtu|\
rte_eth_promiscuous_enable|rte_eth_allmulticast_enable|rte_eth_dev_rss_reta_update|rte_eth_stats_get|\
rte_eth_xstats_get|rte_eth_xstats_get_names|rte_eth_link_get_nowait|rte_eth_dev_callback_register|\
rte_eth_dev_callback_unregister";

fn main() {
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=shim.h");
    println!("cargo::rerun-if-changed=shim.c");
    if let Err(sentence) = build() {
        println!("cargo::error={sentence}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let version = pkg_config(&["--modversion"])?;
    if !version.starts_with("22.11") {
        println!("cargo::warning=DPDK {version} was found; tandem is tested with 22.11 of Debian 12");
    }
    // For the appliance's own build script (links = "dpdk").
    println!("cargo::metadata=version={version}");
    println!("cargo::rustc-env=TANDEM_DPDK_FOUND={version}");

    let cflags: Vec<String> = pkg_config(&["--cflags"])?.split_whitespace().map(str::to_owned).collect();
    compile_shim(&cflags)?;
    write_bindings(&cflags)?;

    println!("cargo::rustc-link-search=native={}", pkg_config(&["--variable=libdir"])?);
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}

fn pkg_config(arguments: &[&str]) -> Result<String, String> {
    let missing = format!(
        "DPDK was not found: install it with `{PACKAGES}`, or build without it: `cargo build --no-default-features`"
    );
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    let run = Command::new("pkg-config").args(arguments).arg("libdpdk").output();
    match run {
        Ok(done) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
        Ok(done) => Err(format!("{missing}. ({})", String::from_utf8_lossy(&done.stderr).trim().replace('\n', " "))),
        Err(e) => Err(format!("{missing}. (pkg-config could not be run: {e})")),
    }
}

fn compile_shim(cflags: &[String]) -> Result<(), String> {
    let mut build = cc::Build::new();
    build.file("shim.c").opt_level(3).warnings(true).extra_warnings(true).flag_if_supported("-Wno-unused-parameter");
    for flag in cflags {
        build.flag(flag);
    }
    build.try_compile("tandem_dpdk_shim").map_err(|e| {
        format!("the C shim did not compile; is a C compiler there (`apt-get install gcc libc6-dev`)? {e}")
    })
}

fn write_bindings(cflags: &[String]) -> Result<(), String> {
    // bindgen panics where libclang cannot be loaded; the build script says what to install instead.
    std::panic::set_hook(Box::new(|_| {}));
    if std::panic::catch_unwind(bindgen::clang_version).is_err() {
        return Err(format!("libclang was not found, which reads DPDK's headers: install it with `{PACKAGES}`"));
    }
    drop(std::panic::take_hook());

    let bindings = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .allowlist_function(FUNCTIONS)
        .allowlist_type("rte_mbuf|rte_mempool|rte_ring|rte_memzone|rte_eth_.*")
        .allowlist_var("TD_.*")
        .opaque_type("rte_mempool|rte_ring|rte_device|rte_eth_vmdq_.*|rte_eth_dcb_.*")
        .derive_debug(false)
        .derive_default(false)
        .prepend_enum_name(false)
        .layout_tests(true)
        .generate_comments(false)
        .generate()
        .map_err(|e| format!("DPDK's headers could not be read: {e}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    bindings.write_to_file(out.join("bindings.rs")).map_err(|e| format!("the bindings could not be written: {e}"))
}
