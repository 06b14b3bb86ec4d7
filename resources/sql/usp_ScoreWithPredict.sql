-- dbo.usp_ScoreWithPredict for SQL Server 2017 and later and Azure SQL Managed Instance: scores the rows of a table by
-- PREDICT, with the active version of a model in dbo.MLModels (ml_models_mssql.sql), and upserts the scores.
-- An ADF activity InDatabaseMLScoring goes on calling it with ModelName, InputTable and OutputTable.
-- * There PREDICT takes what rx_serialize_model (revoscalepy) or rxSerializeModel (RevoScaleR) made, and nothing else.
--   ONNX is for Synapse dedicated pools only: usp_ScoreWithPredict_synapse.sql. Azure SQL Database has no PREDICT: use
--   compiled SQL there (docs/in-database.md).
-- * @InputTable and @OutputTable are schema.table; names in brackets may contain anything.
-- * @PredictionColumn is what the model calls its prediction: <label>_Pred for RevoScale models.
-- * The output table has @KeyColumn, Score, ModelName, ModelVersion and ScoredAt (UTC). A row is known by key and
--   model: a second call updates it.
-- * All scores of a call are there, or none.
-- * Returns how many rows were scored, and by which version.
-- Refused: 51010 names that are none, 51011 a table or column that does not exist, 51012 no active version,
-- 51013 bytes that are not what was registered, 51014 another format, 51015 a key that is NULL or there twice.
-- Batches are separated by lines of "GO".
--
-- What was wrong with the procedure of the patterns, and is not any more:
-- * QUOTENAME('dbo.Customers') is [dbo.Customers], one name with a dot in it: no table was ever found by its schema.
-- * It read the model by its name only: with a second version the subquery has two rows and fails (error 512), and
--   without one @model is NULL, which PREDICT reports as a corrupt model.
-- * INSERT without a column list, of d.*: a column more in either table fails, another order writes into wrong columns.
-- * A second call wrote every row a second time; without a transaction.
-- * No row said which version scored it, and when.
-- * It called the prediction Score; PREDICT finds it only by the model's own name for it.
-- * It promised ONNX to servers that do not take it, and lacked RUNTIME = ONNX for the one that does.

SET QUOTED_IDENTIFIER ON;
GO
CREATE OR ALTER PROCEDURE dbo.usp_ScoreWithPredict
    @ModelName nvarchar(200),
    @InputTable nvarchar(517),
    @OutputTable nvarchar(517),
    @KeyColumn sysname = N'RecordId',
    @PredictionColumn sysname = N'Score'
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;

    DECLARE @Input nvarchar(517), @Output nvarchar(517), @Missing nvarchar(max), @Message nvarchar(2000);
    DECLARE @Model varbinary(max), @Version nvarchar(60), @Hash char(64), @Format varchar(20), @Features nvarchar(max);
    DECLARE @Statement nvarchar(max), @Rows bigint, @ScoredAt datetime2(3) = SYSUTCDATETIME();

    SET @Input = QUOTENAME(PARSENAME(@InputTable, 2)) + N'.' + QUOTENAME(PARSENAME(@InputTable, 1));
    SET @Output = QUOTENAME(PARSENAME(@OutputTable, 2)) + N'.' + QUOTENAME(PARSENAME(@OutputTable, 1));

    IF @Input IS NULL OR @Output IS NULL OR PARSENAME(@InputTable, 3) IS NOT NULL
        OR PARSENAME(@OutputTable, 3) IS NOT NULL OR @KeyColumn IS NULL OR @PredictionColumn IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: @InputTable is ', COALESCE(@InputTable, N'NULL'),
            N', @OutputTable is ', COALESCE(@OutputTable, N'NULL'),
            N'; expected schema.table of this database for both, and the names of two columns.');
        THROW 51010, @Message, 1;
    END;

    IF OBJECT_ID(@Input) IS NULL OR OBJECT_ID(@Output) IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: there is no table or view ',
            CASE WHEN OBJECT_ID(@Input) IS NULL THEN @Input ELSE @Output END, N' here, or this user may not see it.');
        THROW 51011, @Message, 1;
    END;

    -- The index on active rows allows one a name.
    SELECT
        @Model = model_data,
        @Version = model_version,
        @Hash = model_sha256,
        @Format = model_format,
        @Features = features
    FROM dbo.MLModels
    WHERE model_name = @ModelName AND is_active = 1;

    IF @Model IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: no version of model ', COALESCE(@ModelName, N'NULL'),
            N' is active in dbo.MLModels. Register one: adfml register-model.');
        THROW 51012, @Message, 1;
    END;

    IF CONVERT(char(64), HASHBYTES('SHA2_256', @Model), 2) <> UPPER(@Hash)
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: the bytes of model ', @ModelName, N' version ', @Version,
            N' are not those that were registered (model_sha256). Register it again.');
        THROW 51013, @Message, 1;
    END;

    IF @Format <> 'revoscale'
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: model ', @ModelName, N' version ', @Version,
            N' is a file of kind ', @Format, N'; PREDICT takes what rx_serialize_model made here. Use compiled SQL, or ',
            N'usp_PythonMLScoring.');
        THROW 51014, @Message, 1;
    END;

    SET @Missing = (
        SELECT STRING_AGG(wanted.name, N', ')
        FROM (
            SELECT @Input AS place, value COLLATE Latin1_General_100_BIN2 AS name FROM OPENJSON(@Features)
            UNION ALL
            SELECT @Input, @KeyColumn COLLATE Latin1_General_100_BIN2
            UNION ALL
            SELECT @Output, name COLLATE Latin1_General_100_BIN2
            FROM (VALUES (@KeyColumn), (N'Score'), (N'ModelName'), (N'ModelVersion'), (N'ScoredAt')) AS written (name)
        ) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM sys.columns AS found
            WHERE found.object_id = OBJECT_ID(wanted.place)
                AND found.name COLLATE Latin1_General_100_BIN2 = wanted.name
        )
    );

    IF @Missing IS NOT NULL
    BEGIN
        SET @Message = LEFT(CONCAT(N'usp_ScoreWithPredict: ', @Input, N' and ', @Output, N' lack columns: ', @Missing,
            N'. The input has the key and the features of the model, the output the key, Score, ModelName, ',
            N'ModelVersion and ScoredAt.'), 2000);
        THROW 51011, @Message, 1;
    END;

    SET @Statement = N'
SELECT d.' + QUOTENAME(@KeyColumn) + N' AS RecordId, CONVERT(float, p.' + QUOTENAME(@PredictionColumn) + N') AS Score
INTO #adfml_scores
FROM PREDICT(MODEL = @Model, DATA = ' + @Input + N' AS d)
WITH (' + QUOTENAME(@PredictionColumn) + N' float) AS p;

SET @Rows = ROWCOUNT_BIG();

IF EXISTS (SELECT 1 FROM #adfml_scores GROUP BY RecordId HAVING COUNT_BIG(*) > 1 OR RecordId IS NULL)
BEGIN;
    THROW 51015, N''usp_ScoreWithPredict: keys of the input are NULL or there twice. Nothing was written.'', 1;
END;

MERGE ' + @Output + N' WITH (HOLDLOCK) AS target
USING #adfml_scores AS source
ON target.' + QUOTENAME(@KeyColumn) + N' = source.RecordId AND target.ModelName = @ModelName
WHEN MATCHED THEN
    UPDATE SET Score = source.Score, ModelVersion = @Version, ScoredAt = @ScoredAt
WHEN NOT MATCHED THEN
    INSERT (' + QUOTENAME(@KeyColumn) + N', Score, ModelName, ModelVersion, ScoredAt)
    VALUES (source.RecordId, source.Score, @ModelName, @Version, @ScoredAt);
';

    BEGIN TRANSACTION;

    EXECUTE sys.sp_executesql
        @Statement,
        N'@Model varbinary(max), @ModelName nvarchar(200), @Version nvarchar(60), @ScoredAt datetime2(3),
        @Rows bigint OUTPUT',
        @Model = @Model,
        @ModelName = @ModelName,
        @Version = @Version,
        @ScoredAt = @ScoredAt,
        @Rows = @Rows OUTPUT;

    COMMIT TRANSACTION;

    SELECT @Rows AS RowsScored, @Version AS ModelVersion;
END;
