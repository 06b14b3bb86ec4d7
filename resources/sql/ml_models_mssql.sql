-- MLModels for SQL Server, Managed Instance and Azure SQL Database: versions of models, one row a version.
-- * One version of a name is active, or none: the filtered unique index allows no second one.
-- * model_data is what model_sha256 says: the database computes the hash itself and refuses other bytes.
-- * Older versions stay; one of them is activated by two updates in one transaction (`adfml register-model` does it).
-- Batches are separated by lines of "GO". Running the file again changes nothing. A table of this name that was made
-- by hand is left as it is: rename it first, it has no versions and may have several active rows.
-- For a Synapse dedicated pool, which enforces neither keys nor filtered indexes, see usp_ScoreWithPredict_synapse.sql.

-- sqlcmd turns it off, and a filtered index needs it.
SET QUOTED_IDENTIFIER ON;
GO
IF OBJECT_ID(N'dbo.MLModels', N'U') IS NULL
CREATE TABLE dbo.MLModels (
    -- Names and versions are compared exactly.
    model_name nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
    model_version nvarchar(60) COLLATE Latin1_General_100_BIN2 NOT NULL,
    -- The model's file as it is: .skops, .onnx, a pickle, or what rx_serialize_model made.
    model_data varbinary(max) NOT NULL,
    -- Hexadecimal, lower case.
    model_sha256 char(64) COLLATE Latin1_General_100_BIN2 NOT NULL,
    model_format varchar(20) COLLATE Latin1_General_100_BIN2 NOT NULL,
    -- A JSON list of column names, in the model's order.
    features nvarchar(max) NOT NULL,
    is_active bit NOT NULL CONSTRAINT DF_MLModels_Active DEFAULT 0,
    -- UTC.
    registered_at datetime2(3) NOT NULL CONSTRAINT DF_MLModels_Registered DEFAULT SYSUTCDATETIME(),
    CONSTRAINT PK_MLModels PRIMARY KEY (model_name, model_version),
    CONSTRAINT CK_MLModels_Format CHECK (model_format IN ('skops', 'onnx', 'pickle', 'revoscale')),
    CONSTRAINT CK_MLModels_Features CHECK (ISJSON(features) = 1),
    CONSTRAINT CK_MLModels_Hash CHECK (
        model_sha256 = LOWER(CONVERT(char(64), HASHBYTES('SHA2_256', model_data), 2)) COLLATE Latin1_General_100_BIN2
    )
);
GO
IF NOT EXISTS (
    SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID(N'dbo.MLModels') AND name = N'UX_MLModels_Active'
)
CREATE UNIQUE INDEX UX_MLModels_Active ON dbo.MLModels (model_name) WHERE is_active = 1;
