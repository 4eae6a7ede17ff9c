//! The recipes of docs/architecture.md: whoever adds a column of `response` or a setting of a client is told each place that lacks it.

const TABLES: &str = include_str!("../../sql/tables.sql");
const CLIENT_FUNCTIONS: &str = include_str!("../../sql/clients.sql");
const COMMENTS: &str = include_str!("../../sql/comments.sql");
const UPGRADE: &str = include_str!("../../sql/target_profile--0.1.0--0.2.0.sql");
const SURFACE: &str = include_str!("../regress/expected/surface.out");

/// A place that names each column: `{}` stands for the column.
struct Place {
    file: &'static str,
    section: &'static str,
    names: &'static str,
}

/// What stands between two texts, the first one included.
fn section<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let start = text.find(from).unwrap_or_else(|| panic!("there is no {from}"));
    let rest = &text[start..];
    &rest[..rest.find(to).unwrap_or_else(|| panic!("there is no {to} after {from}"))]
}

/// The columns of a table, as `CREATE TABLE` has them.
fn columns(table: &str) -> Vec<&'static str> {
    let create = format!("CREATE TABLE target_profile.{table} (\n");
    section(TABLES, &create, "\n)")
        .lines()
        .skip(1)
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        .map(|line| line.trim_start().split(' ').next().unwrap())
        .collect()
}

fn lacking(columns: &[&str], places: &[Place]) -> Vec<String> {
    let mut lacking = Vec::new();
    for column in columns {
        for place in places {
            let name = place.names.replace("{}", column);
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let is_whole = |at: usize| {
                let goes_on = |inside: Option<char>, outside: Option<char>| {
                    inside.is_some_and(is_word) && outside.is_some_and(is_word)
                };
                !goes_on(name.chars().next(), place.section[..at].chars().next_back())
                    && !goes_on(
                        name.chars().next_back(),
                        place.section[at + name.len()..].chars().next(),
                    )
            };
            if !place.section.match_indices(&name).any(|(at, _)| is_whole(at)) {
                lacking.push(format!("{}: no `{name}`", place.file));
            }
        }
    }
    lacking
}

#[test]
fn a_column_of_response_is_written_and_documented() {
    let columns = columns("response");
    assert!(columns.len() >= 17, "{columns:?}");
    let written = |text: &'static str| section(text, "INSERT INTO", "FROM unnest(:arrays)");
    let place = |file, section, names| Place { file, section, names };
    let places = [
        place(
            "sql/queries/settle/settle_responses.sql",
            written(include_str!("../../sql/queries/settle/settle_responses.sql")),
            "{}",
        ),
        place(
            "sql/queries/settle/settle_stray_responses.sql",
            written(include_str!("../../sql/queries/settle/settle_stray_responses.sql")),
            "{}",
        ),
        place(
            "tests/regress/expected/surface.out",
            section(SURFACE, "table target_profile.response (", "\n"),
            "{}",
        ),
        place(
            "docs/reference.md",
            section(
                include_str!("../../docs/reference.md"),
                "| `target_profile.response` |",
                "\n",
            ),
            "`{}`",
        ),
    ];
    let mut all = lacking(&columns, &places);
    // Those that the statement computes have no value of the row's.
    let given: Vec<&str> = columns
        .into_iter()
        .filter(|column| !["outbox_ids", "enqueued_by"].contains(column))
        .collect();
    let places = [place(
        "src/pg/worker/rows.rs",
        section(
            include_str!("../../src/pg/worker/rows.rs"),
            "ResponseRow<'_> as row {",
            "\n}",
        ),
        "{}",
    )];
    all.extend(lacking(&given, &places));
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn a_setting_of_a_client_is_given_checked_read_commented_and_documented() {
    let settings: Vec<&str> = columns("client")
        .into_iter()
        .take_while(|column| *column != "paused_at")
        .filter(|column| *column != "client_code")
        .collect();
    assert!(settings.len() >= 12, "{settings:?}");
    let add = section(CLIENT_FUNCTIONS, "CREATE FUNCTION target_profile.add_client(", "$$;");
    let set = section(CLIENT_FUNCTIONS, "CREATE FUNCTION target_profile.set_client(", "$$;");
    let core = include_str!("../../src/core/settings.rs");
    let place = |file, section, names| Place { file, section, names };
    let places = [
        place(
            "src/core/settings.rs",
            section(core, "pub struct ClientRow {", "\n}"),
            "pub {}:",
        ),
        place("sql/clients.sql, add_client", section(add, "(", ") RETURNS"), "{}"),
        place("sql/clients.sql, add_client", add, "add_client.{}"),
        place("sql/clients.sql, set_client", section(set, "(", ") RETURNS"), "{}"),
        place("sql/clients.sql, set_client", set, "{} = coalesce(set_client.{}, c.{})"),
        place("sql/clients.sql, reset of set_client", set, "'{}'"),
        place("sql/comments.sql", COMMENTS, "COLUMN target_profile.client.{} IS"),
        place(
            "sql/queries/enqueue/clients.sql",
            include_str!("../../sql/queries/enqueue/clients.sql"),
            "c.{}",
        ),
        place(
            "src/pg/enqueue/clients.rs",
            include_str!("../../src/pg/enqueue/clients.rs"),
            "(\"{}\")",
        ),
        place("docs/settings.md", include_str!("../../docs/settings.md"), "`{}`"),
        place(
            "tests/regress/expected/surface.out",
            section(SURFACE, "target_profile.set_client(", "\n"),
            "{}",
        ),
        place("the upgrade script", UPGRADE, "coalesce(set_client.{}, c.{})"),
    ];
    assert_eq!(lacking(&settings, &places), Vec::<String>::new());
}
