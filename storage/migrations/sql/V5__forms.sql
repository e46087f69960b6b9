-- All forms of values that JSON has no type for, in every function that looks into values: `$float`, `$string`, `$map`, `$keyed`, `$tuple`
-- and `$variant` beside those of V1. A form is one value, however many levels it is written in, and what is inside `$map` is no form.

CREATE OR REPLACE FUNCTION headwater.tag_of(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) <> 'object' THEN NULL
        WHEN value ? '$bytes' AND value - '$bytes' = '{}' THEN '$bytes'
        WHEN value ? '$timestamp' AND value - '$timestamp' = '{}' THEN '$timestamp'
        WHEN value ? '$text' AND value - '$text' = '{}' THEN '$text'
        WHEN value ? '$counter' AND value - '$counter' = '{}' THEN '$counter'
        WHEN value ? '$float' AND value - '$float' = '{}' THEN '$float'
        WHEN value ? '$string' AND value - '$string' = '{}' THEN '$string'
        WHEN value ? '$map' AND value - '$map' = '{}' THEN '$map'
        WHEN value ? '$keyed' AND value - '$keyed' = '{}' THEN '$keyed'
        WHEN value ? '$tuple' AND value - '$tuple' = '{}' THEN '$tuple'
        WHEN value ? '$variant' AND value - '$variant' = '{}' THEN '$variant'
    END
$$;

-- Whether JSON would read a string from these characters between quotes: escapes are whole, and so are surrogate pairs.
CREATE FUNCTION headwater.is_escaped(content jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_typeof(content) = 'string' AND content #>> '{}' ~ ('^([^"\\\u0001-\u001f]|\\["\\/bfnrt]|\\u([0-9a-cA-Ce-fE-F][0-9a-fA-F]{3}'
        || '|[dD][0-7][0-9a-fA-F]{2}|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*$')
$$;

CREATE OR REPLACE FUNCTION headwater.tag_is_sound(tag text, content jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN tag = '$bytes' THEN jsonb_typeof(content) = 'string' AND content #>> '{}' ~ '^([0-9a-fA-F]{2})*$'
        WHEN tag = '$text' AND headwater.tag_of(content) = '$string' THEN headwater.is_escaped(content -> '$string')
        WHEN tag = '$text' THEN jsonb_typeof(content) = 'string'
        WHEN tag = '$string' THEN headwater.is_escaped(content)
        WHEN tag = '$float' THEN jsonb_typeof(content) = 'string' AND content #>> '{}'
            ~ '^(NaN|-?Infinity|0x[0-9a-fA-F]{16}|[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?)$'
        WHEN tag = '$map' AND jsonb_typeof(content) = 'array' THEN NOT EXISTS (
            SELECT FROM jsonb_array_elements(content) AS p (pair)
            WHERE CASE WHEN jsonb_typeof(p.pair) = 'array' THEN jsonb_array_length(p.pair) END IS DISTINCT FROM 2
                OR NOT headwater.is_escaped(p.pair -> 0))
        WHEN tag = '$map' THEN jsonb_typeof(content) = 'object'
        WHEN tag = '$tuple' THEN jsonb_typeof(content) = 'array'
        WHEN tag IN ('$keyed', '$variant') AND jsonb_typeof(content) = 'array' THEN jsonb_array_length(content) = 2
            AND jsonb_typeof(content -> 0) = 'string' AND (tag = '$variant' OR jsonb_typeof(content -> 1) = 'array')
        WHEN tag IN ('$keyed', '$variant') THEN false
        WHEN jsonb_typeof(content) <> 'number' OR content::text !~ '^-?[0-9]{1,19}$' THEN false
        ELSE content::numeric BETWEEN -9223372036854775808 AND 9223372036854775807
    END
$$;

-- Whether the fields of an entity are in the form of a map: all other names of fields are what they are.
CREATE FUNCTION headwater.is_escape(fields jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(headwater.tag_of(fields) = '$map' AND jsonb_typeof(fields -> '$map') IN ('object', 'array'), false)
$$;

-- What is in a map, whose content may be in its form. No rows for any other value. A key that is escaped is shown with a dot in
-- the place of what was.
CREATE FUNCTION headwater.entries(map jsonb) RETURNS TABLE (key text, value jsonb) LANGUAGE sql IMMUTABLE AS $$
    SELECT o.key, o.value FROM jsonb_each(CASE
        WHEN jsonb_typeof(map) = 'object' AND headwater.tag_of(map) IS NULL THEN map
        WHEN headwater.tag_of(map) = '$map' AND jsonb_typeof(map -> '$map') = 'object' THEN map -> '$map'
        ELSE '{}' END) AS o
    UNION ALL
    SELECT regexp_replace(p.pair ->> 0, '\\(u....|.)', '.', 'g'), p.pair -> 1
    FROM jsonb_array_elements(CASE
        WHEN headwater.tag_of(map) = '$map' AND jsonb_typeof(map -> '$map') = 'array' THEN map -> '$map'
        ELSE '[]' END) AS p (pair)
    WHERE jsonb_typeof(p.pair) = 'array'
$$;

-- What is in a form that holds values. A tuple is a list inside of a map.
CREATE FUNCTION headwater.inside(form jsonb) RETURNS TABLE (key text, value jsonb) LANGUAGE sql IMMUTABLE AS $$
    SELECT '', a.value
    FROM jsonb_array_elements(CASE WHEN headwater.tag_of(form) = '$keyed' AND headwater.tag_is_sound('$keyed', form -> '$keyed')
        THEN form -> '$keyed' -> 1 ELSE '[]' END) AS a
    UNION ALL
    SELECT '', form -> '$tuple' WHERE headwater.tag_of(form) = '$tuple'
    UNION ALL
    SELECT form -> '$variant' ->> 0, form -> '$variant' -> 1
    WHERE headwater.tag_of(form) = '$variant' AND headwater.tag_is_sound('$variant', form -> '$variant')
$$;

CREATE OR REPLACE FUNCTION headwater.check_fields(fields jsonb) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    bad record;
BEGIN
    WITH RECURSIVE nodes (field, key, value, depth) AS (
        SELECT f.key, f.key, f.value, 1 FROM jsonb_each(CASE WHEN headwater.is_escape(fields) THEN '{}' ELSE fields END) AS f
        UNION ALL
        SELECT e.key, e.key, e.value, 1
        FROM headwater.entries(CASE WHEN headwater.is_escape(fields) THEN fields ELSE '{}' END) AS e
        UNION ALL
        SELECT n.field, inner_node.key, inner_node.value, n.depth + 1
        FROM nodes AS n CROSS JOIN LATERAL (
            SELECT e.key, e.value FROM headwater.entries(n.value) AS e
            UNION ALL
            SELECT '', a.value
            FROM jsonb_array_elements(CASE jsonb_typeof(n.value) WHEN 'array' THEN n.value ELSE '[]' END) AS a
            UNION ALL
            SELECT i.key, i.value FROM headwater.inside(n.value) AS i
        ) AS inner_node
        WHERE n.depth <= 64 AND jsonb_typeof(n.value) IN ('object', 'array')
    ), judged AS (
        SELECT field, key, headwater.tag_of(value) AS tag, CASE
            WHEN depth = 1 AND starts_with(key, '_') THEN 'reserved'
            WHEN key IN ('_keyed', '_variant', '_tuple', '_set', '_at', '_removed') THEN 'reserved'
            WHEN octet_length(key) > 1024 THEN 'long'
            WHEN depth > 64 THEN 'deep'
            WHEN jsonb_typeof(value) = 'number' AND abs(value::numeric) > 1.7976931348623157e308 THEN 'large'
            WHEN NOT headwater.tag_is_sound(headwater.tag_of(value), value -> headwater.tag_of(value)) THEN 'tag'
        END AS fault
        FROM nodes
    )
    SELECT * INTO bad FROM judged WHERE fault IS NOT NULL LIMIT 1;
    CASE bad.fault
    WHEN 'reserved' THEN
        RAISE EXCEPTION 'the field name "%" is reserved', bad.key USING ERRCODE = 'check_violation',
            HINT = 'Names of fields that begin with "_" are Headwater''s own, and everywhere: _keyed, _variant, _tuple, _set, _at, _removed.';
    WHEN 'long' THEN
        RAISE EXCEPTION 'a name in field "%" is longer than 1024 bytes', left(bad.field, 80)
            USING ERRCODE = 'check_violation';
    WHEN 'deep' THEN
        RAISE EXCEPTION 'field "%" nests deeper than 64 levels', bad.field USING ERRCODE = 'check_violation';
    WHEN 'large' THEN
        RAISE EXCEPTION 'field "%" has a number that no double holds', bad.field
            USING ERRCODE = 'numeric_value_out_of_range', HINT = 'Store it as text.';
    WHEN 'tag' THEN
        RAISE EXCEPTION 'field "%" has a "%" that does not hold what its name says', bad.field, bad.tag
            USING ERRCODE = 'invalid_text_representation',
            HINT = '$bytes: hexadecimal text; $timestamp and $counter: an integer of 64 bits; $text: text; $float: NaN, Infinity or '
                'digits, as text; $string: escaped text; $map: an object, or a list of pairs; $keyed: the name of the key and a list; $tuple: a list; '
                '$variant: the name of the case and its content. A map that only looks so is {"$map": {...}}.';
    ELSE
    END CASE;
END $$;

-- What one value becomes when what differs between `old` and `new` is made to `current`.
CREATE FUNCTION headwater.rebase_value(old jsonb, new jsonb, current jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF old = current OR jsonb_typeof(old) IS DISTINCT FROM 'object' OR jsonb_typeof(new) IS DISTINCT FROM 'object'
        OR jsonb_typeof(current) IS DISTINCT FROM 'object'
        OR COALESCE(headwater.tag_of(old), headwater.tag_of(new), headwater.tag_of(current)) IS NOT NULL
    THEN
        RETURN new;
    END IF;
    RETURN headwater.rebase(old, new, current);
END $$;

CREATE OR REPLACE FUNCTION headwater.rebase(old jsonb, new jsonb, current jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    field text;
BEGIN
    IF old = current OR headwater.is_escape(old) OR headwater.is_escape(new) OR headwater.is_escape(current) THEN
        RETURN new;
    END IF;
    FOR field IN SELECT jsonb_object_keys(old || new) LOOP
        IF NOT new ? field THEN
            current := current - field;
        ELSIF new -> field IS DISTINCT FROM old -> field THEN
            current := current || jsonb_build_object(
                field, headwater.rebase_value(old -> field, new -> field, current -> field));
        END IF;
    END LOOP;
    RETURN current;
END $$;

-- A form that reads back as what it stands for: a text, a counter, a list of any kind, a case of an enum, and a map that needs no escape.
CREATE OR REPLACE FUNCTION headwater.plain(value jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    tag text := headwater.tag_of(value);
    content jsonb := value -> tag;
BEGIN
    IF tag IN ('$text', '$counter') THEN
        RETURN content;
    END IF;
    IF tag = '$keyed' THEN
        RETURN headwater.plain(content -> 1);
    END IF;
    IF tag = '$tuple' THEN
        RETURN headwater.plain(content);
    END IF;
    IF tag = '$variant' THEN
        content := jsonb_build_object(content ->> 0, headwater.plain(content -> 1));
        RETURN CASE WHEN headwater.tag_of(content) IS NULL THEN content ELSE jsonb_build_object('$map', content) END;
    END IF;
    IF tag = '$map' AND jsonb_typeof(content) = 'object' THEN
        content := headwater.plain_entries(content);
        RETURN CASE WHEN headwater.tag_of(content) IS NULL THEN content ELSE jsonb_build_object(tag, content) END;
    END IF;
    -- A list of pairs reads as a list whose elements are lists.
    IF tag = '$map' AND jsonb_typeof(content) = 'array' THEN
        RETURN jsonb_build_object(tag, headwater.plain(content));
    END IF;
    RETURN CASE
        WHEN tag IS NOT NULL THEN value
        WHEN jsonb_typeof(value) = 'object' THEN headwater.plain_entries(value)
        WHEN jsonb_typeof(value) = 'array' THEN (SELECT COALESCE(jsonb_agg(headwater.plain(a.item) ORDER BY a.at), '[]')
            FROM jsonb_array_elements(value) WITH ORDINALITY AS a (item, at))
        ELSE value
    END;
END $$;

-- The values of an object, whose keys are what they are.
CREATE FUNCTION headwater.plain_entries(map jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(jsonb_object_agg(e.key, headwater.plain(e.value)), '{}') FROM jsonb_each(map) AS e
$$;

CREATE OR REPLACE FUNCTION headwater.plain_fields(fields jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    content jsonb;
BEGIN
    -- Most have none of them.
    IF NOT fields @? '$.**."$text"' AND NOT fields @? '$.**."$counter"' AND NOT fields @? '$.**."$map"'
        AND NOT fields @? '$.**."$keyed"' AND NOT fields @? '$.**."$tuple"' AND NOT fields @? '$.**."$variant"' THEN
        RETURN fields;
    END IF;
    IF headwater.is_escape(fields) AND jsonb_typeof(fields -> '$map') = 'object' THEN
        content := headwater.plain_entries(fields -> '$map');
        RETURN CASE WHEN headwater.is_escape(content) THEN jsonb_build_object('$map', content) ELSE content END;
    END IF;
    RETURN headwater.plain_entries(fields);
END $$;
