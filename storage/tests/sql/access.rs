//! Who may read and write what.

use headwater_storage::SpaceId;

use crate::Bed;

/// The policies of `docs/sql.md`.
const POLICIES: &str = "
SELECT headwater.grant_access('ROLE');
CREATE POLICY app_reads ON headwater.projection FOR SELECT TO ROLE
    USING (space = ANY (string_to_array(current_setting('headwater.spaces', true), ',')::uuid[]));
CREATE POLICY app_writes ON headwater.inbox FOR INSERT TO ROLE
    WITH CHECK (space = ANY (string_to_array(current_setting('headwater.spaces', true), ',')::uuid[]));
CREATE POLICY app_follows ON headwater.inbox FOR SELECT TO ROLE
    USING (space = ANY (string_to_array(current_setting('headwater.spaces', true), ',')::uuid[]));";

/// A plain role, and the database in which it has to live with the policies.
struct Guarded {
    bed: Bed,
    role: String,
    other: SpaceId,
}

impl Guarded {
    async fn new() -> Guarded {
        let bed = Bed::new().await;
        let role = format!("app_{}", uuid::Uuid::new_v4().simple());
        bed.psql(&format!("CREATE ROLE {role}"));
        let other = SpaceId::from_name("work");
        bed.add_space(other).await;
        bed.insert(r#"{"of": "home"}"#);
        bed.psql(&format!(r#"SELECT headwater.put('{other}', 'bags', '{{"of": "work"}}')"#));
        Guarded { bed, role, other }
    }

    fn allow(&self) {
        self.bed.psql(&POLICIES.replace("ROLE", &self.role));
    }

    /// SQL that the role runs, while it may see these spaces.
    fn with(&self, spaces: &str, sql: &str) -> String {
        let role = &self.role;
        let spaces =
            spaces.replace("OTHER", &self.other.to_string()).replace("HOME", &self.bed.space.to_string());
        let sql = sql.replace("OTHER", &format!("'{}'", self.other));
        format!("SET SESSION AUTHORIZATION {role}; SET headwater.spaces = '{spaces}'; {sql}")
    }

    async fn refused(&self, spaces: &str, sql: &str) -> (String, String) {
        // A session that is not used again: it has become somebody else.
        let config: tokio_postgres::Config = self.bed.url.parse().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        crate::refused(&client, &self.bed.sql(&self.with(spaces, sql))).await
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let sql = format!("DROP OWNED BY {role}; DROP ROLE {role}", role = self.role);
        let _left_behind = self.bed.server.psql(&self.bed.url, &sql).is_err();
    }
}

/// Would show everything to a role that was given access before anybody thought of policies.
#[tokio::test]
async fn nothing_is_open_without_a_policy() {
    let guarded = Guarded::new().await;
    assert_eq!(guarded.refused("HOME", "SELECT FROM headwater.entities").await.0, "42501");
    guarded.bed.psql(&format!("SELECT headwater.grant_access('{}')", guarded.role));
    assert_eq!(guarded.bed.psql(&guarded.with("HOME", "SELECT count(*) FROM headwater.entities")), "0");
    let insert = "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', '{}')";
    assert_eq!(guarded.refused("HOME", insert).await.0, "42501");
}

/// Would let a role read spaces that its policies do not name, in the tables or through the views.
#[tokio::test]
async fn a_role_reads_its_own_spaces_only() {
    let guarded = Guarded::new().await;
    guarded.allow();
    let bed = &guarded.bed;
    bed.psql("SELECT headwater.create_view('bags')");
    bed.psql(&format!(
        "GRANT USAGE ON SCHEMA headwater_views TO {0}; GRANT SELECT ON headwater_views.bags TO {0}",
        guarded.role
    ));
    for table in ["headwater.entities", "headwater.projection", "headwater_views.bags"] {
        let read = format!("SELECT string_agg(data ->> 'of', ' ' ORDER BY data ->> 'of') FROM {table}");
        assert_eq!(bed.psql(&guarded.with("HOME", &read)), "home");
        assert_eq!(bed.psql(&guarded.with("OTHER", &read)), "work");
        assert_eq!(bed.psql(&guarded.with("HOME,OTHER", &read)), "home work");
        assert_eq!(bed.psql(&guarded.with("", &read)), "");
        assert_eq!(bed.psql(&guarded.with("HOME", &format!("RESET headwater.spaces; {read}"))), "");
    }
    assert_eq!(bed.psql(&guarded.with("HOME", "SELECT count(*) FROM headwater.inbox")), "1");
    for table in ["spaces", "progress", "audit", "audit_log", "lag", "due", "leases"] {
        assert_eq!(
            guarded.refused("HOME", &format!("SELECT FROM headwater.{table}")).await.0,
            "42501",
            "{table}"
        );
    }
}

/// Would let a role write into spaces that its policies do not name, or find out by trying which there are.
#[tokio::test]
async fn a_role_writes_its_own_spaces_only() {
    let guarded = Guarded::new().await;
    guarded.allow();
    let bed = &guarded.bed;
    let role = &guarded.role;
    bed.psql(&guarded.with(
        "HOME",
        "INSERT INTO headwater.entities (space, collection, data) VALUES (SPACE, 'bags', '{\"of\": \"mine\"}'); \
         UPDATE headwater.entities SET data = data || '{\"seen\": true}'; \
         DELETE FROM headwater.entities WHERE data ->> 'of' = 'mine'; \
         UPDATE headwater.entities SET deleted_at = null; \
         SELECT headwater.patch(SPACE, id, '{\"more\": 1}') FROM headwater.entities LIMIT 1",
    ));
    let edits = bed.psql("SELECT role, count(*) FROM headwater.inbox GROUP BY role ORDER BY count(*)");
    assert_eq!(edits, format!("postgres|2\n{role}|6"));
    assert_eq!(
        bed.psql("SELECT count(*) FROM headwater.entities WHERE data ? 'seen' AND data ->> 'of' = 'work'"),
        "0"
    );

    let insert = |space: &str| {
        format!("INSERT INTO headwater.entities (space, collection, data) VALUES ({space}, 'bags', '{{}}')")
    };
    let there = guarded.refused("HOME", &insert("OTHER")).await;
    let not_there = guarded.refused("HOME", &insert("gen_random_uuid()")).await;
    assert_eq!(there.0, "42501");
    assert_eq!(there, not_there);
    // Past the view it is the same.
    let past = "INSERT INTO headwater.inbox (space, collection, entity, kind) VALUES (OTHER, 'bags', gen_random_uuid(), 'delete')";
    assert_eq!(guarded.refused("HOME", past).await.0, "42501");
    let patch = "SELECT headwater.patch(OTHER, gen_random_uuid(), '{}')";
    assert_eq!(guarded.refused("HOME", patch).await.0, "P0002");
}

/// Would let a role change rows without an edit, forge the author of one, or take another's back.
#[tokio::test]
async fn a_role_cannot_get_round_the_view() {
    let guarded = Guarded::new().await;
    guarded.allow();
    for sql in [
        "UPDATE headwater.projection SET data = '{}'",
        "INSERT INTO headwater.projection (space, collection, id, data) VALUES (SPACE, 'bags', gen_random_uuid(), '{}')",
        "DELETE FROM headwater.projection",
        "INSERT INTO headwater.inbox (space, collection, entity, kind, role) VALUES (SPACE, 'bags', gen_random_uuid(), 'delete', 'ada')",
        "UPDATE headwater.inbox SET failed = 'no'",
        "DELETE FROM headwater.inbox",
        "SELECT headwater.create_view('bags')",
    ] {
        let (code, message) = guarded.refused("HOME", sql).await;
        assert_eq!(code, "42501", "{sql}: {message}");
    }
    // What the triggers do as the owner cannot be borrowed for a table of one's own.
    let own = "CREATE TEMP TABLE own (LIKE headwater.inbox); \
               CREATE TRIGGER own AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION headwater.inbox_taken()";
    assert_eq!(guarded.refused("HOME", own).await.0, "42501");
    // What it may insert itself is checked and completed as what comes through the view.
    let direct = |values: &str| {
        format!(
            "INSERT INTO headwater.inbox (space, collection, entity, kind, before, after, base) VALUES (SPACE, {values})"
        )
    };
    let (code, _) =
        guarded.refused("HOME", &direct("'bags', gen_random_uuid(), 'put', null, '{\"_x\": 1}', '{}'")).await;
    assert_eq!(code, "23514");
    let (code, _) = guarded
        .refused("HOME", &direct("'other', (SELECT id FROM headwater.entities), 'delete', null, null, '{}'"))
        .await;
    assert_eq!(code, "P0002");
    let forged = "'bags', (SELECT id FROM headwater.entities), 'patch', '{\"x\": 1}', '{\"x\": 2}', '{zz}'";
    guarded.bed.psql(&guarded.with("HOME", &guarded.bed.sql(&direct(forged))));
    let edit = guarded.bed.psql("SELECT before, after, base FROM headwater.inbox WHERE kind = 'patch'");
    assert_eq!(edit, r#"{"of": "home"}|{"x": 2, "of": "home"}|{}"#);
}

/// Would turn a role that was made for reports into one that can write, or keep it alive after it was revoked.
#[tokio::test]
async fn read_access_is_only_that_and_can_be_revoked() {
    let guarded = Guarded::new().await;
    guarded.allow();
    let bed = &guarded.bed;
    bed.psql(&format!("SELECT headwater.grant_access('{}', 'read')", guarded.role));
    assert_eq!(bed.psql(&guarded.with("HOME", "SELECT data ->> 'of' FROM headwater.entities")), "home");
    for sql in [
        "DELETE FROM headwater.entities",
        "UPDATE headwater.entities SET data = '{}'",
        "SELECT FROM headwater.inbox",
    ] {
        assert_eq!(guarded.refused("HOME", sql).await.0, "42501", "{sql}");
    }
    bed.psql(&format!("SELECT headwater.revoke_access('{}')", guarded.role));
    assert_eq!(guarded.refused("HOME", "SELECT FROM headwater.entities").await.0, "42501");
    assert_eq!(
        bed.refused(&format!("SELECT headwater.grant_access('{}', 'all')", guarded.role)).await.0,
        "22023"
    );
}
