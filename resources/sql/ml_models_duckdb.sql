-- MLModels for DuckDB: versions of models, one row a version. It goes into the connection's schema.
-- * One version of a name is active, or none: the unique index over the active rows' names allows no second one.
-- * model_data is what model_sha256 says: the database computes the hash itself and refuses other bytes.
-- Statements are separated by lines of "-- GO". Running the file again changes nothing.

CREATE TABLE IF NOT EXISTS "MLModels" (
    model_name VARCHAR NOT NULL,
    model_version VARCHAR NOT NULL,
    -- The model's file as it is.
    model_data BLOB NOT NULL,
    -- Hexadecimal, lower case.
    model_sha256 VARCHAR NOT NULL,
    model_format VARCHAR NOT NULL,
    -- A JSON list of column names, in the model's order.
    features VARCHAR NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT false,
    -- UTC.
    registered_at TIMESTAMP NOT NULL DEFAULT (CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP)),
    CONSTRAINT "PK_MLModels" PRIMARY KEY (model_name, model_version),
    CONSTRAINT "CK_MLModels_Format" CHECK (model_format IN ('skops', 'onnx', 'pickle', 'revoscale')),
    CONSTRAINT "CK_MLModels_Features" CHECK (json_type(features) = 'ARRAY'),
    CONSTRAINT "CK_MLModels_Hash" CHECK (model_sha256 = sha256(model_data))
);
-- GO
CREATE UNIQUE INDEX IF NOT EXISTS "UX_MLModels_Active" ON "MLModels" ((CASE WHEN is_active THEN model_name END));
