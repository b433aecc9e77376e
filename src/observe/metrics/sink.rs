//! Where sources put their figures at scrape. Lives for one scrape, on the HTTP thread.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{Family, Histogram, Kind, families};

/// Collects samples by family; several sources may add to one.
#[derive(Debug, Default)]
pub struct MetricSink {
    families: BTreeMap<&'static str, MetricFamily>,
}

/// Values for the labels of a family. They must be the family's own, in its order.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl MetricSink {
    /// A counter's value so far.
    pub fn count(&mut self, family: &'static Family, labels: Labels<'_>, value: u64) {
        debug_assert_eq!(family.kind, Kind::Counter, "{}", family.name);
        let mut counter = Counter::default();
        counter.set_value(value as f64);
        self.metric(family, labels).set_counter(counter);
    }

    /// What a level is now.
    pub fn gauge(&mut self, family: &'static Family, labels: Labels<'_>, value: f64) {
        debug_assert_eq!(family.kind, Kind::Gauge, "{}", family.name);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.metric(family, labels).set_gauge(gauge);
    }

    pub fn histogram(&mut self, family: &'static Family, labels: Labels<'_>, histogram: &Histogram) {
        debug_assert_eq!(family.kind, Kind::Histogram, "{}", family.name);
        self.metric(family, labels).set_histogram(histogram.proto());
    }

    /// One count per name of an enumeration, such as drop reasons: `values` pairs each with its label. Reasons that
    /// never occurred are told as 0, so that a rate over them exists from the start.
    pub fn count_each<'a>(
        &mut self,
        family: &'static Family,
        labels: Labels<'_>,
        label: &'static str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        for (name, value) in values {
            let labels: Vec<(&'static str, &str)> = labels.iter().copied().chain([(label, name)]).collect();
            self.count(family, &labels, value);
        }
    }

    /// A port's driver statistics. What ENA calls `bw_in_allowance_exceeded` and the like is told apart as well.
    pub fn xstats<'a>(&mut self, port: &str, xstats: impl IntoIterator<Item = (&'a str, u64)>) {
        for (name, value) in xstats {
            if let Some(allowance) = name.strip_suffix("_allowance_exceeded") {
                self.count(&families::PORT_ALLOWANCE_EXCEEDED, &[("port", port), ("allowance", allowance)], value);
            }
            self.gauge(&families::PORT_XSTAT, &[("port", port), ("xstat", name)], value as f64);
        }
    }

    /// All families that have a sample, by name.
    pub fn into_families(self) -> Vec<MetricFamily> {
        self.families.into_values().collect()
    }

    fn metric(&mut self, family: &'static Family, labels: Labels<'_>) -> &mut Metric {
        debug_assert!(labels.iter().map(|(name, _)| name).eq(family.labels), "{}: {labels:?}", family.name);
        let pairs = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let metrics = self.families.entry(family.name).or_insert_with(|| describe(family)).mut_metric();
        metrics.push(Metric::from_label(pairs.collect()));
        let last = metrics.len() - 1;
        &mut metrics[last]
    }
}

fn describe(family: &'static Family) -> MetricFamily {
    let mut proto = MetricFamily::default();
    proto.set_name(family.name.to_owned());
    proto.set_help(family.help.to_owned());
    proto.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    proto
}
