//! The picture, read back.

use super::*;
use crate::contender::{BY_KEY, COALESCE, GROUP};
use roxmltree::{Document, Node};

fn spread(low: f64, median: f64, high: f64) -> Spread {
    Spread { low, median, high }
}

/// A panel in which this crate is second of four, and the longest whisker ends at `top`.
fn panel(title: &str, top: f64) -> Panel {
    let part = |low, median, high| spread(low * top, median * top, high * top);
    Panel {
        title: title.to_string(),
        about: "something & <else>",
        axis: "apples".to_string(),
        unit: " a",
        floor: "the ground",
        bars: vec![
            (BARE, part(0.05, 0.1, 0.1)),
            (BY_KEY, part(0.25, 0.5, 0.75)),
            (GROUP, part(0.5, 0.5, 0.5)),
            (COALESCE, part(0.2, 0.25, 0.3)),
            ("`Shared` in a map", part(0.8, 0.9, 1.0)),
        ],
    }
}

fn drawn() -> String {
    draw(&[panel("One", 542.0), panel("Two", 4.71), panel("Three", 0.03)], "a & b < c")
}

fn elements<'a, 'b>(
    document: &'a Document<'b>,
    tag: &'static str,
) -> impl Iterator<Item = Node<'a, 'b>> {
    document.descendants().filter(move |node| node.has_tag_name(tag))
}

fn number(node: Node<'_, '_>, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap_or_else(|| panic!("no {attribute}")).parse().expect("a number")
}

/// The bars of all panels, in order.
fn bars<'a, 'b>(document: &'a Document<'b>) -> Vec<Node<'a, 'b>> {
    elements(document, "rect").filter(|node| node.attribute("class") != Some("ground")).collect()
}

fn texts(document: &Document<'_>) -> Vec<String> {
    elements(document, "text").filter_map(|node| node.text().map(str::to_string)).collect()
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.11
}

#[test]
fn bars_and_whiskers_are_in_proportion_to_the_longest_of_their_panel() {
    let svg = drawn();
    let document = Document::parse(&svg).unwrap();
    let (bars, whiskers): (_, Vec<_>) = (bars(&document), elements(&document, "line").collect());
    assert_eq!((bars.len(), whiskers.len()), (12, 12));
    let expected = [(0.25, 0.5, 0.75), (0.5, 0.5, 0.5), (0.2, 0.25, 0.3), (0.8, 0.9, 1.0)];
    for ((bar, whisker), (low, median, high)) in
        bars.iter().zip(whiskers).zip(expected.into_iter().cycle())
    {
        assert!(near(number(*bar, "width"), median * PLOT), "{bar:?}");
        assert!(near(number(whisker, "x1"), low * PLOT), "{whisker:?}");
        assert!(near(number(whisker, "x2"), high * PLOT), "{whisker:?}");
    }
}

#[test]
fn each_median_is_written_beside_its_bar_as_the_tables_write_it_with_its_unit() {
    let svg = drawn();
    let texts = texts(&Document::parse(&svg).unwrap());
    for panel in [542.0, 4.71, 0.03].map(|top| panel("", top)) {
        for (name, spread) in panel.contenders() {
            let number = digits(spread.median);
            assert!(spread.to_string().starts_with(&number));
            let shown = format!("{number} a");
            assert!(texts.contains(&shown), "{name}: {shown} is not in {texts:?}");
        }
    }
}

#[test]
fn the_floor_is_a_line_and_not_a_bar() {
    let svg = drawn();
    let document = Document::parse(&svg).unwrap();
    let lines: Vec<_> =
        elements(&document, "path").filter(|path| path.has_attribute("stroke-dasharray")).collect();
    assert_eq!(lines.len(), 3);
    let at = format!("M{:.1} ", 0.1 * PLOT);
    assert!(lines.iter().all(|line| line.attribute("d").unwrap().starts_with(&at)), "{lines:?}");
    let texts = texts(&document);
    assert!(texts.contains(&"the ground: 54.2 a".to_string()));
    assert!(!texts.contains(&BARE.to_string()));
}

#[test]
fn the_bars_of_this_crate_stand_out() {
    let svg = drawn();
    let document = Document::parse(&svg).unwrap();
    let classes: Vec<_> = bars(&document).iter().filter_map(|bar| bar.attribute("class")).collect();
    assert_eq!(classes, ["ours", "ours", "peer", "peer"].repeat(3));
    let labels =
        elements(&document, "text").filter(|node| node.attribute("text-anchor") == Some("end"));
    let weights: Vec<_> = labels.filter_map(|label| label.attribute("font-weight")).collect();
    assert_eq!(weights, ["bold", "bold", "normal", "normal"]);
}

#[test]
fn a_screen_reader_is_told_all_numbers() {
    let svg = drawn();
    let document = Document::parse(&svg).unwrap();
    assert_eq!(document.root_element().attribute("aria-labelledby"), Some("title desc"));
    let [title, desc] = ["title", "desc"].map(|tag| {
        let node = elements(&document, tag).next().expect("there is one");
        assert_eq!(node.attribute("id"), Some(tag));
        node.text().expect("it says something")
    });
    assert_eq!(title, TITLE);
    assert!(desc.contains("One, something & <else>; apples: by_key 271 (136–406), "), "{desc}");
    assert!(
        desc.contains("Shared in a map 488 (434–542). The floor, the ground: 54.2 a."),
        "{desc}"
    );
}

#[test]
fn the_picture_runs_nothing_fetches_nothing_and_is_small() {
    let svg = draw(
        &[panel("One", 542.0), panel("Two", 4.71), panel("Three", 0.03)],
        &crate::setting::brief(),
    );
    assert!(svg.len() < 12 * 1024, "{} bytes", svg.len());
    let document = Document::parse(&svg).unwrap();
    for node in document.descendants().filter(Node::is_element) {
        assert!(
            !["script", "image", "use", "foreignObject", "a"].contains(&node.tag_name().name()),
            "{node:?}"
        );
        assert!(node.attributes().all(|attribute| !attribute.name().starts_with("on")), "{node:?}");
    }
    assert!(!svg.contains("url(") && !svg.contains("@import") && !svg.contains("href"));
}

#[test]
fn an_axis_has_a_few_round_numbers() {
    let ticks = |top| ticks(top).map(|tick| tick.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(ticks(542.0), "0 200 400");
    assert_eq!(ticks(4.71), "0 1 2 3 4");
    assert_eq!(ticks(100.0), "0 20 40 60 80 100");
    assert_eq!(ticks(1.02), "0 0.5 1");
    assert_eq!(ticks(0.07), "0 0.02 0.04 0.06");
}

#[test]
#[should_panic = "a row is one contender's"]
fn panels_with_other_contenders_are_refused() {
    let mut other = panel("Two", 1.0);
    other.bars.pop();
    draw(&[panel("One", 1.0), other], "");
}
