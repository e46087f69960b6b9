-- How a write through `headwater.entities` becomes a row of `headwater.inbox`, and what that row does.

CREATE FUNCTION headwater.entities_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    given text := CASE
        WHEN NEW.conflicts IS NOT NULL THEN 'conflicts'
        WHEN NEW.heads IS NOT NULL THEN 'heads'
        WHEN NEW.version IS NOT NULL THEN 'version'
        WHEN NEW.seq IS NOT NULL THEN 'seq'
        WHEN NEW.created_at IS NOT NULL THEN 'created_at'
        WHEN NEW.updated_at IS NOT NULL THEN 'updated_at'
        WHEN NEW.deleted_at IS NOT NULL THEN 'deleted_at'
        WHEN NEW.updated_by IS NOT NULL THEN 'updated_by'
        WHEN NEW.updated_device IS NOT NULL THEN 'updated_device'
    END;
    written headwater.entities;
BEGIN
    IF given IS NOT NULL THEN
        RAISE EXCEPTION 'the column "%" cannot be written', given USING ERRCODE = 'feature_not_supported',
            HINT = 'Give space, collection, data and, if you like, id.';
    END IF;
    IF NEW.space IS NULL OR NEW.collection IS NULL THEN
        RAISE EXCEPTION 'an entity needs a space and a collection' USING ERRCODE = 'not_null_violation';
    END IF;
    NEW.id := COALESCE(NEW.id, headwater.uuid_v7());
    INSERT INTO headwater.inbox (space, collection, entity, kind, after)
    VALUES (NEW.space, NEW.collection, NEW.id, 'put', NEW.data);
    -- What RETURNING gives. A role that may only write has no row to see.
    SELECT e.* INTO written FROM headwater.entities AS e WHERE e.space = NEW.space AND e.id = NEW.id;
    IF FOUND THEN
        NEW := written;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION headwater.entities_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text := CASE
        WHEN NEW.space IS DISTINCT FROM OLD.space THEN 'space'
        WHEN NEW.collection IS DISTINCT FROM OLD.collection THEN 'collection'
        WHEN NEW.id IS DISTINCT FROM OLD.id THEN 'id'
        WHEN NEW.conflicts IS DISTINCT FROM OLD.conflicts THEN 'conflicts'
        WHEN NEW.heads IS DISTINCT FROM OLD.heads THEN 'heads'
        WHEN NEW.version IS DISTINCT FROM OLD.version THEN 'version'
        WHEN NEW.seq IS DISTINCT FROM OLD.seq THEN 'seq'
        WHEN NEW.created_at IS DISTINCT FROM OLD.created_at THEN 'created_at'
        WHEN NEW.updated_at IS DISTINCT FROM OLD.updated_at THEN 'updated_at'
        WHEN NEW.updated_by IS DISTINCT FROM OLD.updated_by THEN 'updated_by'
        WHEN NEW.updated_device IS DISTINCT FROM OLD.updated_device THEN 'updated_device'
        -- Only whether it is deleted can be written, not when that was.
        WHEN NEW.deleted_at <> OLD.deleted_at THEN 'deleted_at'
    END;
    written headwater.entities;
BEGIN
    IF changed IS NOT NULL THEN
        RAISE EXCEPTION 'the column "%" cannot be written', changed USING ERRCODE = 'feature_not_supported',
            HINT = 'Write data; set deleted_at to now() to delete and to null to restore.';
    END IF;
    IF OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL THEN
        INSERT INTO headwater.inbox (space, collection, entity, kind, base)
        VALUES (OLD.space, OLD.collection, OLD.id, 'restore', OLD.heads);
    END IF;
    IF NEW.data IS DISTINCT FROM OLD.data THEN
        INSERT INTO headwater.inbox (space, collection, entity, kind, before, after, base)
        VALUES (OLD.space, OLD.collection, OLD.id, 'patch', OLD.data, NEW.data, OLD.heads);
    END IF;
    IF OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL THEN
        INSERT INTO headwater.inbox (space, collection, entity, kind, base)
        VALUES (OLD.space, OLD.collection, OLD.id, 'delete', OLD.heads);
    END IF;
    SELECT e.* INTO written FROM headwater.entities AS e WHERE e.space = OLD.space AND e.id = OLD.id;
    IF FOUND THEN
        NEW := written;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION headwater.entities_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.deleted_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO headwater.inbox (space, collection, entity, kind, base)
    VALUES (OLD.space, OLD.collection, OLD.id, 'delete', OLD.heads);
    RETURN OLD;
END $$;

CREATE TRIGGER entities_insert INSTEAD OF INSERT ON headwater.entities
    FOR EACH ROW EXECUTE FUNCTION headwater.entities_insert();
CREATE TRIGGER entities_update INSTEAD OF UPDATE ON headwater.entities
    FOR EACH ROW EXECUTE FUNCTION headwater.entities_update();
CREATE TRIGGER entities_delete INSTEAD OF DELETE ON headwater.entities
    FOR EACH ROW EXECUTE FUNCTION headwater.entities_delete();

-- Checks an edit, lays it over the entity's row, and notes what it builds on. After the insert, because only then have the policies
-- on `inbox` been asked: somebody without the right learns nothing.
CREATE FUNCTION headwater.inbox_taken() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored headwater.projection;
    seen jsonb;
    made jsonb;
    changed jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM headwater.spaces AS s WHERE s.space = NEW.space) THEN
        RAISE EXCEPTION 'there is no space %', NEW.space USING ERRCODE = 'foreign_key_violation',
            HINT = 'The relay makes a space when a device first opens it; headwater.spaces lists those that are there.';
    END IF;
    IF NEW.kind IN ('put', 'patch') AND jsonb_typeof(NEW.after) IS DISTINCT FROM 'object'
        OR NEW.kind = 'patch' AND jsonb_typeof(NEW.before) IS DISTINCT FROM 'object'
    THEN
        RAISE EXCEPTION 'data must be a JSON object' USING ERRCODE = 'check_violation';
    END IF;

    IF NEW.kind = 'put' THEN
        PERFORM headwater.check_collection(NEW.collection);
        PERFORM headwater.check_fields(NEW.after);
        INSERT INTO headwater.projection (space, collection, id, data, created_at, updated_at, updated_by, pending)
        VALUES (NEW.space, NEW.collection, NEW.entity, headwater.plain_fields(NEW.after), NEW.at, NEW.at, NEW.role, NEW.id);
        IF NEW.base <> '{}' OR NEW.before IS NOT NULL THEN
            UPDATE headwater.inbox SET base = '{}', before = NULL WHERE id = NEW.id;
        END IF;
        PERFORM pg_notify('headwater_inbox', '');
        RETURN NULL;
    END IF;

    SELECT p.* INTO stored FROM headwater.projection AS p
    WHERE p.space = NEW.space AND p.id = NEW.entity AND p.collection = NEW.collection FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no entity % in collection % of space %', NEW.entity, NEW.collection, NEW.space
            USING ERRCODE = 'no_data_found', HINT = 'If it was there a moment ago, try again.';
    END IF;
    IF NEW.kind = 'patch' THEN
        SELECT jsonb_object_agg(a.key, a.value) INTO changed FROM jsonb_each(NEW.after) AS a
        WHERE a.value IS DISTINCT FROM NEW.before -> a.key;
        PERFORM headwater.check_fields(changed);
        seen := stored.data;
        made := headwater.rebase(NEW.before, NEW.after, stored.data);
    END IF;
    IF (CASE NEW.kind WHEN 'patch' THEN made = seen ELSE (stored.deleted_at IS NULL) = (NEW.kind = 'restore') END) THEN
        -- Somebody else did the same in the meantime.
        DELETE FROM headwater.inbox WHERE id = NEW.id;
        RETURN NULL;
    END IF;
    UPDATE headwater.projection AS p SET
        data = CASE NEW.kind WHEN 'patch' THEN headwater.plain_fields(made) ELSE p.data END,
        deleted_at = CASE NEW.kind WHEN 'delete' THEN NEW.at WHEN 'restore' THEN NULL ELSE p.deleted_at END,
        updated_at = NEW.at, updated_by = NEW.role, updated_device = NULL, pending = NEW.id
    WHERE p.space = NEW.space AND p.id = NEW.entity;
    IF stored.pending IS NOT NULL OR (NEW.base, NEW.before, NEW.after) IS DISTINCT FROM (stored.heads, seen, made) THEN
        -- Its number was taken before the lock: another edit, that it now follows, may have taken a later one.
        UPDATE headwater.inbox AS i SET base = stored.heads, before = seen, after = made, follows = stored.pending,
            n = CASE WHEN stored.pending IS NULL THEN i.n ELSE nextval('headwater.inbox_n_seq') END
        WHERE i.id = NEW.id;
    END IF;
    PERFORM pg_notify('headwater_inbox', '');
    RETURN NULL;
END $$;
-- Or anybody could hang it on a table of their own, and write past the policies.
REVOKE EXECUTE ON FUNCTION headwater.inbox_taken() FROM PUBLIC;

CREATE TRIGGER inbox_taken AFTER INSERT ON headwater.inbox FOR EACH ROW EXECUTE FUNCTION headwater.inbox_taken();

-- Deleting an edit that is not in the feed takes it back: its entity is made from the feed again.
CREATE FUNCTION headwater.inbox_withdrawn() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO headwater.due (space, entity, seq)
    SELECT p.space, p.id, 0 FROM headwater.projection AS p
    WHERE p.space = OLD.space AND p.id = OLD.entity AND p.pending = OLD.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION headwater.inbox_withdrawn() FROM PUBLIC;

CREATE TRIGGER inbox_withdrawn AFTER DELETE ON headwater.inbox FOR EACH ROW EXECUTE FUNCTION headwater.inbox_withdrawn();
