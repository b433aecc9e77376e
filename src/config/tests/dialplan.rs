//! Bad rules and bad plans for numbers, and the words each must draw.

use super::*;

#[test]
fn a_sound_plan_draws_no_word() {
    expect(
        &[
            (
                "address = \"v4\"\x20\x20",
                "numbers = { country = \"1\", international = \"011\", national = [\"1\", \"\"] }\naddress = \"v4\"",
            ),
            (
                "to = [\"right\"]",
                "to = [\"right\"]\nfrom = [\"left\", \"right\"]\n\
                 [[route]]\nprefix = \"49\"\ntimes = [\"mon-fri 08:00-18:00\", \"sat\"]\ntimezone = \"Europe/Berlin\"\nto = [\"left\"]\n\
                 [[route]]\nprefix = \"49\"\nemergency = true\ncalled.number = \"112\"\nto = [\"left\"]\n\
                 [[route]]\nprefix = \"49\"\ncalling = { strip = 1, prepend = \"+\" }\nto = [\"left\"]",
            ),
        ],
        &[],
    );
}

#[test]
fn times_and_time_zones() {
    expect(
        &[("to = [\"right\"]", "to = [\"right\"]\ntimes = [\"mon\", \"mo-fri 8-18\"]\ntimezone = \"Europe/Berlni\"")],
        &[
            "t.toml:39:17: error: route[1].times[2]: found \"mo-fri 8-18\": \"mo\" is no day; allowed: [DAYS] \
             [HH:MM-HH:MM], as in \"mon-fri 08:00-18:00\", \"sat,sun\", \"22:00-06:00\"",
            "t.toml:40:12: error: route[1].timezone: found \"Europe/Berlni\"; allowed: a time zone's IANA name, as in \
             \"Europe/Berlin\", or \"UTC\"",
        ],
    );
    expect(
        &[("[sip] ", "[sip]\ntimezone = \"CET/Berlin\"\n#")],
        &["t.toml:24:12: error: sip.timezone: found \"CET/Berlin\"; allowed: a time zone's IANA name, as in \
             \"Europe/Berlin\", or \"UTC\""],
    );
    expect(
        &[("to = [\"right\"]", "to = [\"right\"]\ntimes = []")],
        &[
            "t.toml:39:9: error: route[1].times: found 0 of them; allowed: a list of 1 to 64 values, each a string that is not empty",
        ],
    );
}

#[test]
fn emergency_rules_hold_always_and_name_their_number() {
    expect(
        &[("prefix = \"49\" ", "prefix = \"\"\nemergency = true\ntimes = [\"mon\"] #")],
        &[
            "t.toml:37:10: error: route[1].prefix: found \"\" of an emergency rule; allowed: the whole emergency number",
            "t.toml:39:9: error: route[1].times: found times of an emergency rule; allowed: none: it holds at all hours",
        ],
    );
}

#[test]
fn rewriting() {
    expect(
        &[("to = [\"right\"]", "to = [\"right\"]\ncalled = { number = \"1\", strip = 2 }\ncalling.prepend = \"0 0\"")],
        &[
            "t.toml:39:21: error: route[1].called.number: found \"1\" beside strip or prepend; allowed: either a number to \
             write, or strip and prepend",
            "t.toml:40:19: error: route[1].calling.prepend: found ' ' in it; allowed: printable ASCII characters without \
             blanks",
        ],
    );
}

#[test]
fn two_rules_for_the_same_calls() {
    expect(
        &[(
            "to = [\"right\"]",
            "from = [\"left\", \"right\"]\nto = [\"right\"]\n[[route]]\nprefix = \"49\"\nfrom = \"right\"\nto = [\"left\"]",
        )],
        &[
            "t.toml:41:10: error: route[2].prefix: found \"49\" again; allowed: each pair of prefix and from once; list the \
             trunks of one route in `to`",
        ],
    );
    expect(
        &[("to = [\"right\"]", "from = [\"left\", \"middle\"]\nto = [\"right\"]")],
        &["t.toml:38:17: error: route[1].from[2]: found \"middle\"; allowed: the name of a [[trunk]]: left, right"],
    );
    expect(
        &[("to = [\"right\"]", "from = 7\nto = [\"right\"]")],
        &[
            "t.toml:38:8: error: route[1].from: found 7; allowed: a string that is not empty, or a list of 1 or more of them",
        ],
    );
}

#[test]
fn plans_for_numbers() {
    expect(
        &[(
            "address = \"v4\"\x20\x20",
            "numbers = { country = \"+49\", international = \"+\", national = [\"0\", \"00\"] }\naddress = \"v4\" #",
        )],
        &[
            "t.toml:28:23: error: trunk[left].numbers.country: found \"+49\"; allowed: a country calling code, 1 to 3 \
             digits, as in \"49\"",
            "t.toml:28:46: error: trunk[left].numbers.international[1]: found \"+\"; allowed: digits, as in \"00\" or \"0\"",
        ],
    );
    expect(
        &[(
            "address = \"v4\"\x20\x20",
            "numbers = { international = [\"\"], national = \"\", format = \"national\" }\naddress = \"v4\" #",
        )],
        &[
            "t.toml:28:11: error: trunk[left].numbers: found national numbers without a country; allowed: `country`, the \
             country calling code that national numbers belong to",
            "t.toml:28:46: error: trunk[left].numbers.national[1]: found \"\", which is an international prefix too; \
             allowed: a prefix that tells a national number from an international one",
        ],
    );
}
