-- What a person with SQL can call, and what else they can read. See docs/sql.md.

-- Shared by the functions: an entity that is there, deleted or not.
CREATE FUNCTION headwater.unknown_entity(space uuid, id uuid, is_deleted boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF is_deleted THEN
        RAISE EXCEPTION 'the entity % of space % is deleted', id, space USING ERRCODE = 'no_data_found',
            HINT = 'headwater.restore(space, id) takes that back.';
    END IF;
    RAISE EXCEPTION 'there is no entity % in space %', id, space USING ERRCODE = 'no_data_found';
END $$;

-- Creates an entity, or sets the given keys of one that exists, and restores it if it is deleted.
CREATE FUNCTION headwater.put(space uuid, collection text, data jsonb, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    found_in text;
    made uuid;
BEGIN
    IF jsonb_typeof(put.data) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'data must be a JSON object' USING ERRCODE = 'check_violation';
    END IF;
    IF put.id IS NULL THEN
        INSERT INTO headwater.entities AS e (space, collection, data) VALUES (put.space, put.collection, put.data)
        RETURNING e.id INTO made;
        RETURN made;
    END IF;
    -- Twice: somebody else may create it between the look and the insert.
    FOR attempt IN 1..2 LOOP
        SELECT e.collection INTO found_in FROM headwater.entities AS e WHERE e.space = put.space AND e.id = put.id;
        IF found_in <> put.collection THEN
            RAISE EXCEPTION 'the entity % is in collection "%"', put.id, found_in USING ERRCODE = 'unique_violation';
        ELSIF found_in IS NOT NULL THEN
            UPDATE headwater.entities AS e SET data = e.data || put.data, deleted_at = NULL
            WHERE e.space = put.space AND e.id = put.id;
            RETURN put.id;
        END IF;
        BEGIN
            INSERT INTO headwater.entities (space, collection, id, data)
            VALUES (put.space, put.collection, put.id, put.data);
            RETURN put.id;
        EXCEPTION WHEN unique_violation THEN
            IF attempt = 2 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END $$;

-- Sets the given keys of an entity, null too, and leaves the others.
CREATE FUNCTION headwater.patch(space uuid, id uuid, fields jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(fields) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'the fields must be a JSON object' USING ERRCODE = 'check_violation';
    END IF;
    UPDATE headwater.entities AS e SET data = e.data || fields
    WHERE e.space = patch.space AND e.id = patch.id AND e.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM headwater.unknown_entity(patch.space, patch.id, EXISTS (
            SELECT FROM headwater.entities AS e WHERE e.space = patch.space AND e.id = patch.id));
    END IF;
END $$;

-- Removes keys of an entity.
CREATE FUNCTION headwater.unset(space uuid, id uuid, VARIADIC keys text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE headwater.entities AS e SET data = e.data - keys
    WHERE e.space = unset.space AND e.id = unset.id AND e.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM headwater.unknown_entity(unset.space, unset.id, EXISTS (
            SELECT FROM headwater.entities AS e WHERE e.space = unset.space AND e.id = unset.id));
    END IF;
END $$;

-- Deletes an entity. One that is deleted stays so.
CREATE FUNCTION headwater.delete(space uuid, id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM headwater.entities AS e WHERE e.space = delete.space AND e.id = delete.id;
    IF NOT FOUND AND NOT EXISTS (
        SELECT FROM headwater.entities AS e WHERE e.space = delete.space AND e.id = delete.id)
    THEN
        PERFORM headwater.unknown_entity(delete.space, delete.id, false);
    END IF;
END $$;

-- Takes a deletion back. An entity that is not deleted stays as it is.
CREATE FUNCTION headwater.restore(space uuid, id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE headwater.entities AS e SET deleted_at = NULL WHERE e.space = restore.space AND e.id = restore.id;
    IF NOT FOUND THEN
        PERFORM headwater.unknown_entity(restore.space, restore.id, false);
    END IF;
END $$;

-- Gives a role the rights that it needs to read, or to read and write. Which rows, policies say.
CREATE FUNCTION headwater.grant_access(role name, access text DEFAULT 'write') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF access IS DISTINCT FROM 'read' AND access IS DISTINCT FROM 'write' THEN
        RAISE EXCEPTION 'access is "read" or "write", not %', quote_nullable(access)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM headwater.revoke_access(role);
    EXECUTE format('GRANT USAGE ON SCHEMA headwater TO %I', role);
    EXECUTE format('GRANT SELECT ON headwater.entities, headwater.projection TO %I', role);
    IF access = 'write' THEN
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON headwater.entities TO %I', role);
        -- Not `role` and `at`, so that nobody writes in another's name, and not what the relay writes.
        EXECUTE format('GRANT INSERT (space, collection, entity, kind, before, after, base) ON headwater.inbox TO %I', role);
        EXECUTE format('GRANT SELECT ON headwater.inbox TO %I', role);
    END IF;
END $$;

-- Takes back what headwater.grant_access gave.
CREATE FUNCTION headwater.revoke_access(role name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON headwater.entities, headwater.projection, headwater.inbox FROM %I', role);
    EXECUTE format('REVOKE INSERT (space, collection, entity, kind, before, after, base) ON headwater.inbox FROM %I', role);
    EXECUTE format('REVOKE USAGE ON SCHEMA headwater FROM %I', role);
END $$;

-- Who pushed what, from where.
CREATE VIEW headwater.audit_log WITH (security_invoker = true) AS
SELECT space, first_seq, last_seq, to_timestamp(at_ms / 1000.0) AS at, device, address, pushed_by AS "user", changes
FROM headwater.audit;

-- How far the projection is behind the feed, and how many edits from SQL wait for the relay.
CREATE VIEW headwater.lag WITH (security_invoker = true) AS
SELECT s.space, s.head_seq, COALESCE(p.seq, 0) AS projected_seq, s.head_seq - COALESCE(p.seq, 0) AS lag,
    (SELECT count(*) FROM headwater.inbox AS i WHERE i.space = s.space AND i.done_at IS NULL) AS unsettled
FROM headwater.spaces AS s
LEFT JOIN headwater.progress AS p ON p.space = s.space AND p.name = 'projection';
