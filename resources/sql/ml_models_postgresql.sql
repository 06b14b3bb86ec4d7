-- MLModels for PostgreSQL: versions of models, one row a version. It goes into the first schema of the search path.
-- * One version of a name is active, or none: the partial unique index allows no second one.
-- * model_data is what model_sha256 says: the database computes the hash itself and refuses other bytes.
-- Statements are separated by lines of "-- GO". Running the file again changes nothing.

CREATE TABLE IF NOT EXISTS "MLModels" (
    model_name varchar(200) NOT NULL,
    model_version varchar(60) NOT NULL,
    -- The model's file as it is.
    model_data bytea NOT NULL,
    -- Hexadecimal, lower case.
    model_sha256 char(64) NOT NULL,
    model_format varchar(20) NOT NULL,
    -- A JSON list of column names, in the model's order.
    features text NOT NULL,
    is_active boolean NOT NULL DEFAULT false,
    -- UTC.
    registered_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    CONSTRAINT "PK_MLModels" PRIMARY KEY (model_name, model_version),
    CONSTRAINT "CK_MLModels_Format" CHECK (model_format IN ('skops', 'onnx', 'pickle', 'revoscale')),
    CONSTRAINT "CK_MLModels_Features" CHECK (json_typeof(CAST(features AS json)) = 'array'),
    CONSTRAINT "CK_MLModels_Hash" CHECK (model_sha256 = encode(sha256(model_data), 'hex'))
);
-- GO
CREATE UNIQUE INDEX IF NOT EXISTS "UX_MLModels_Active" ON "MLModels" (model_name) WHERE is_active;
