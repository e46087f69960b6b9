-- The feed holds documents of the format in docs/document-format.md. A relay refuses a feed that was begun before this version.

INSERT INTO headwater.meta (name, value) VALUES ('document_format', '2');
