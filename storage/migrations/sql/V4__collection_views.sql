-- Views of one collection with a column per field, in the schema `headwater_views`. See docs/sql.md.

-- Refuses what Postgres would cut off: two names could then be one.
CREATE FUNCTION headwater.check_identifier(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION '% cannot be the name of a view or a column', quote_nullable(name)
            USING ERRCODE = 'invalid_name', HINT = 'A name has 1 to 63 bytes.';
    END IF;
END $$;

-- Makes, or makes again, the view of a collection's entities that are not deleted. Without `fields` it has those that are there
-- now. Returns the view's name, as it is written in SQL. Who may read it keeps that right.
CREATE FUNCTION headwater.create_view(collection text, fields text[] DEFAULT NULL, view_name text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    name text := COALESCE(view_name, create_view.collection);
    made text := format('headwater_views.%I', name);
    given boolean := fields IS NOT NULL;
    -- The columns that every view has.
    taken text[] := ARRAY['id', 'space', 'data', 'created_at', 'updated_at'];
    columns text := '';
    grants text[];
    field text;
    as_column text;
    statement text;
BEGIN
    PERFORM headwater.check_collection(create_view.collection);
    PERFORM headwater.check_identifier(name);
    IF NOT given THEN
        fields := ARRAY(
            SELECT DISTINCT k COLLATE "C"
            FROM headwater.entities AS e CROSS JOIN LATERAL jsonb_object_keys(e.data) AS k
            WHERE e.collection = create_view.collection AND e.deleted_at IS NULL
                AND octet_length(k) BETWEEN 1 AND 62
            ORDER BY 1);
        IF cardinality(fields) > 1000 THEN
            RAISE EXCEPTION 'the collection has % fields, too many for a view', cardinality(fields)
                USING ERRCODE = 'too_many_columns', HINT = 'Say which: headwater.create_view(collection, ARRAY[...]).';
        END IF;
    END IF;
    FOREACH field IN ARRAY fields LOOP
        as_column := field;
        PERFORM headwater.check_identifier(as_column);
        IF as_column = ANY (taken[1:5]) THEN
            as_column := as_column || '_';
        END IF;
        IF as_column = ANY (taken) THEN
            CONTINUE WHEN NOT given;
            RAISE EXCEPTION 'two columns would have the name "%"', as_column USING ERRCODE = 'duplicate_column';
        END IF;
        taken := taken || as_column;
        columns := columns || format(', e.data ->> %L AS %I', field, as_column);
    END LOOP;

    -- Asked first, because IF NOT EXISTS needs the right to make schemas even where there is nothing to make.
    IF to_regnamespace('headwater_views') IS NULL THEN
        CREATE SCHEMA headwater_views;
    END IF;
    -- A view cannot lose a column, so it is made anew; the rights on it are not to be lost with it.
    SELECT array_agg(format('GRANT %s ON %s TO %s', a.privilege_type, made,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END))
    INTO grants
    FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    WHERE c.oid = to_regclass(made) AND a.grantee <> c.relowner;
    PERFORM headwater.drop_view(name);
    EXECUTE format('CREATE VIEW %s WITH (security_invoker = true) AS SELECT e.id, e.space%s, e.data, e.created_at, e.updated_at '
        'FROM headwater.entities AS e WHERE e.collection = %L AND e.deleted_at IS NULL', made, columns, create_view.collection);
    FOREACH statement IN ARRAY COALESCE(grants, '{}') LOOP
        EXECUTE statement;
    END LOOP;
    RETURN made;
END $$;

-- Drops a view that headwater.create_view made. False if there is none.
CREATE FUNCTION headwater.drop_view(view_name text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    made text := format('headwater_views.%I', view_name);
BEGIN
    IF to_regclass(made) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP VIEW %s', made);
    RETURN true;
END $$;
