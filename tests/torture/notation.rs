//! How the messages of this folder are written down: as RFC 4475 §2 writes them. A file is text whose lines end in LF;
//! on the wire each ends in CRLF. `<allOneLine>` and `</allOneLine>`, each alone on a line, join the lines between them
//! into one; `<repeat count=N>text</repeat>` stands for N times that text; `<hex>0D0A</hex>` for those bytes. Nothing
//! else has a meaning of its own, and a mark that is not whole is an error, not text.

/// The bytes that a file stands for.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let text = joined(text)?;
    let text = repeated(&text)?;
    spelled(&text)
}

fn joined(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut within = false;
    for line in text.lines() {
        match (line, within) {
            ("<allOneLine>", false) => within = true,
            ("</allOneLine>", true) => {
                within = false;
                out.push_str("\r\n");
            }
            ("<allOneLine>" | "</allOneLine>", _) => return Err(format!("{line} does not pair")),
            (_, true) => out.push_str(line),
            (_, false) => {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
    }
    if within { Err("<allOneLine> has no end".into()) } else { Ok(out) }
}

fn repeated(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<repeat count=") {
        let (count, after) = after.split_once('>').ok_or("<repeat> has no count")?;
        let (what, after) = after.split_once("</repeat>").ok_or("<repeat> has no end")?;
        let count: usize = count.parse().map_err(|_| format!("{count:?} is no count"))?;
        out.push_str(before);
        out.push_str(&what.repeat(count));
        rest = after;
    }
    Ok(out + rest)
}

fn spelled(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<hex>") {
        let (digits, after) = after.split_once("</hex>").ok_or("<hex> has no end")?;
        out.extend_from_slice(before.as_bytes());
        if !digits.is_ascii() || digits.len() % 2 != 0 {
            return Err(format!("{digits:?} are no bytes"));
        }
        for pair in digits.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            out.push(u8::from_str_radix(pair, 16).map_err(|_| format!("{pair:?} is no byte"))?);
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[test]
fn marks_are_read_and_half_marks_refused() {
    let text = "a\n<allOneLine>\nb\n <repeat count=3>xy</repeat>\n</allOneLine>\nc<hex>00FF20</hex>\n\n";
    assert_eq!(decode(text).unwrap(), b"a\r\nb xyxyxy\r\nc\x00\xff\x20\r\n\r\n");
    for bad in [
        "<allOneLine>\na\n",
        "</allOneLine>\n",
        "<hex>0</hex>",
        "<hex>0g</hex>",
        "<hex>00",
        "<repeat count=x>a</repeat>",
    ] {
        assert!(decode(bad).is_err(), "{bad}");
    }
}
