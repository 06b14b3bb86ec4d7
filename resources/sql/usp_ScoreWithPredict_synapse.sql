-- dbo.MLModels and dbo.usp_ScoreWithPredict for a dedicated SQL pool of Azure Synapse Analytics: the same call as on
-- SQL Server (usp_ScoreWithPredict.sql, which also says what was wrong with the patterns' procedure), with what a pool
-- needs.
-- * PREDICT takes ONNX models there, by RUNTIME = ONNX, and nothing else. Each input of the graph is one column: its
--   name and type are those of a feature (int, bigint, real, float or text), not one matrix of all. Give a view that
--   casts where the table's types are others.
-- * A pool enforces no key and has no filtered index: two active versions of a name are possible, and refused here.
-- * It has no lock for an upsert: rows of the same keys are deleted and inserted in one transaction. Two calls for one
--   output table must not run at the same time.
-- * @PredictionColumn is what the graph calls its output.
-- * Call it outside of a transaction: a pool has no nested ones, and no DDL inside of one.
-- Refused: 51010 names that are none, 51011 a table or column that does not exist, 51012 not exactly one active
-- version, 51014 another format, 51015 a key that is NULL or there twice.
-- Batches are separated by lines of "GO". Running the file again keeps the table and its rows.

IF OBJECT_ID(N'dbo.MLModels') IS NULL
CREATE TABLE dbo.MLModels (
    model_name nvarchar(200) NOT NULL,
    model_version nvarchar(60) NOT NULL,
    model_data varbinary(max) NOT NULL,
    -- Hexadecimal, lower case.
    model_sha256 char(64) NOT NULL,
    model_format varchar(20) NOT NULL,
    -- A JSON list of column names, in the model's order.
    features nvarchar(4000) NOT NULL,
    is_active bit NOT NULL,
    -- UTC.
    registered_at datetime2(3) NOT NULL
)
WITH (DISTRIBUTION = ROUND_ROBIN, HEAP);
GO
IF OBJECT_ID(N'dbo.usp_ScoreWithPredict') IS NOT NULL
DROP PROCEDURE dbo.usp_ScoreWithPredict;
GO
CREATE PROCEDURE dbo.usp_ScoreWithPredict
    @ModelName nvarchar(200),
    @InputTable nvarchar(517),
    @OutputTable nvarchar(517),
    @KeyColumn nvarchar(128) = N'RecordId',
    @PredictionColumn nvarchar(128) = N'Score'
AS
BEGIN
    SET NOCOUNT ON;

    DECLARE @Input nvarchar(517), @Output nvarchar(517), @Missing nvarchar(4000), @Message nvarchar(2000);
    DECLARE @Active int, @Model varbinary(max), @Version nvarchar(60), @Format varchar(20), @Features nvarchar(4000);
    DECLARE @Prepare nvarchar(4000), @Score nvarchar(4000), @Replace nvarchar(4000), @Rows bigint;
    DECLARE @ScoredAt datetime2(3) = SYSUTCDATETIME();

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

    SET @Active = (SELECT COUNT(*) FROM dbo.MLModels WHERE model_name = @ModelName AND is_active = 1);

    IF @Active <> 1
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: ', @Active, N' versions of model ', COALESCE(@ModelName, N'NULL'),
            N' are active in dbo.MLModels; expected one.');
        THROW 51012, @Message, 1;
    END;

    -- A pool assigns by SET only, one value at a time.
    SET @Model = (SELECT model_data FROM dbo.MLModels WHERE model_name = @ModelName AND is_active = 1);
    SET @Version = (SELECT model_version FROM dbo.MLModels WHERE model_name = @ModelName AND is_active = 1);
    SET @Format = (SELECT model_format FROM dbo.MLModels WHERE model_name = @ModelName AND is_active = 1);
    SET @Features = (SELECT features FROM dbo.MLModels WHERE model_name = @ModelName AND is_active = 1);

    IF @Format <> 'onnx'
    BEGIN
        SET @Message = CONCAT(N'usp_ScoreWithPredict: model ', @ModelName, N' version ', @Version,
            N' is a file of kind ', @Format, N'; PREDICT takes ONNX in a dedicated pool. Store the model as .onnx, or ',
            N'score it by an engine outside.');
        THROW 51014, @Message, 1;
    END;

    SET @Missing = (
        SELECT STRING_AGG(wanted.value, N', ')
        FROM OPENJSON(@Features) AS wanted
        LEFT JOIN sys.columns AS found
            ON found.object_id = OBJECT_ID(@Input)
            AND found.name COLLATE Latin1_General_100_BIN2 = wanted.value COLLATE Latin1_General_100_BIN2
        WHERE found.name IS NULL
    );

    IF @Missing IS NOT NULL
    BEGIN
        SET @Message = LEFT(CONCAT(N'usp_ScoreWithPredict: ', @Input, N' lacks features of the model: ', @Missing),
            2000);
        THROW 51011, @Message, 1;
    END;

    -- Temporary tables are the session's here: one that failed before left its own.
    IF OBJECT_ID(N'tempdb..#adfml_scores') IS NOT NULL
    BEGIN
        DROP TABLE #adfml_scores;
    END;

    SET @Prepare = N'
CREATE TABLE #adfml_scores WITH (DISTRIBUTION = ROUND_ROBIN, HEAP) AS
SELECT d.' + QUOTENAME(@KeyColumn) + N' AS RecordId, CONVERT(float, 0) AS Score FROM ' + @Input + N' AS d WHERE 1 = 0;
';
    SET @Score = N'
INSERT INTO #adfml_scores (RecordId, Score)
SELECT d.' + QUOTENAME(@KeyColumn) + N', p.' + QUOTENAME(@PredictionColumn) + N'
FROM PREDICT(MODEL = @Model, DATA = ' + @Input + N' AS d, RUNTIME = ONNX)
WITH (' + QUOTENAME(@PredictionColumn) + N' float) AS p;
';
    SET @Replace = N'
DELETE FROM ' + @Output + N'
WHERE ModelName = @ModelName AND ' + QUOTENAME(@KeyColumn) + N' IN (SELECT RecordId FROM #adfml_scores);

INSERT INTO ' + @Output + N' (' + QUOTENAME(@KeyColumn) + N', Score, ModelName, ModelVersion, ScoredAt)
SELECT RecordId, Score, @ModelName, @Version, @ScoredAt FROM #adfml_scores;
';

    EXECUTE sp_executesql @Prepare;
    EXECUTE sp_executesql @Score, N'@Model varbinary(max)', @Model = @Model;

    SET @Rows = (SELECT COUNT_BIG(*) FROM #adfml_scores);

    -- A NULL is no distinct value.
    IF @Rows <> (SELECT COUNT_BIG(DISTINCT RecordId) FROM #adfml_scores)
    BEGIN
        SET @Message = N'usp_ScoreWithPredict: keys of the input are NULL or there twice. Nothing was written.';
        THROW 51015, @Message, 1;
    END;

    BEGIN TRANSACTION;

    EXECUTE sp_executesql
        @Replace,
        N'@ModelName nvarchar(200), @Version nvarchar(60), @ScoredAt datetime2(3)',
        @ModelName = @ModelName,
        @Version = @Version,
        @ScoredAt = @ScoredAt;

    COMMIT TRANSACTION;

    DROP TABLE #adfml_scores;

    SELECT @Rows AS RowsScored, @Version AS ModelVersion;
END;
