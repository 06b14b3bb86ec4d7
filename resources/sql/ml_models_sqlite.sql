-- MLModels for SQLite: versions of models, one row a version.
-- * One version of a name is active, or none: the partial unique index allows no second one.
-- * SQLite has no hash function: that model_data is what model_sha256 says is checked by who writes and who reads it.
-- Statements are separated by lines of "-- GO". Running the file again changes nothing.

CREATE TABLE IF NOT EXISTS "MLModels" (
    model_name VARCHAR(200) NOT NULL,
    model_version VARCHAR(60) NOT NULL,
    -- The model's file as it is.
    model_data BLOB NOT NULL,
    -- Hexadecimal, lower case.
    model_sha256 CHAR(64) NOT NULL,
    model_format VARCHAR(20) NOT NULL,
    -- A JSON list of column names, in the model's order.
    features TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT 0,
    -- UTC.
    registered_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "PK_MLModels" PRIMARY KEY (model_name, model_version),
    CONSTRAINT "CK_MLModels_Active" CHECK (is_active IN (0, 1)),
    CONSTRAINT "CK_MLModels_Format" CHECK (model_format IN ('skops', 'onnx', 'pickle', 'revoscale')),
    CONSTRAINT "CK_MLModels_Features" CHECK (json_type(features) = 'array'),
    CONSTRAINT "CK_MLModels_Hash" CHECK (length(model_sha256) = 64 AND model_sha256 NOT GLOB '*[^0-9a-f]*')
);
-- GO
CREATE UNIQUE INDEX IF NOT EXISTS "UX_MLModels_Active" ON "MLModels" (model_name) WHERE is_active = 1;
