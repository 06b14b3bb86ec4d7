-- dbo.usp_PythonMLScoring for SQL Server 2017 and later and Azure SQL Managed Instance with Machine Learning Services:
-- scores a day's rows of a table in the server's own Python, with the active version of a model in dbo.MLModels
-- (ml_models_mssql.sql), and upserts the scores. An ADF activity RunPythonInSql goes on calling it with BatchDate.
-- * The server's Python must load the model: skops and the scikit-learn it was trained with for .skops, onnxruntime for
--   .onnx (sqlmlutils installs both). Managed Instance has Python 3.7, which has no current scikit-learn: store the
--   model as .onnx there. The setting `external scripts enabled` must be on, and the caller needs EXECUTE ANY EXTERNAL
--   SCRIPT.
-- * A row is scored if its @DateColumn is on @BatchDate (yyyy-MM-dd).
-- * @InputTable and @OutputTable are schema.table; names in brackets may contain anything.
-- * The output table has @KeyColumn, Score, ModelName, ModelVersion, ScoredAt (UTC) and BatchDate. A row is known by
--   key and model: a second call updates it. A key is a whole number, a text or a uniqueidentifier.
-- * All scores of a call are there, or none.
-- * Returns how many rows were scored, and by which version.
-- Refused: 51010 names that are none, 51011 a table or column that does not exist, 51012 no active version, 51013 bytes
-- that are not what was registered, 51014 another format, 51015 a key that is NULL or there twice, 51016 a date that is
-- none; the script's own errors name usp_PythonMLScoring.
-- Batches are separated by lines of "GO".
--
-- What was wrong with the procedure of the patterns, and is not any more:
-- * A query as the value of a parameter, @model_bytes = (SELECT ...), is a syntax error: it could not even be made.
-- * The script used batch_date, which is no name in it: a script has the names that @params declares (there: dt).
-- * is_active = 1 is true for the active versions of all models: several rows where one value is expected (error 512).
-- * pickle.loads ran whatever code was in the table. Here bytes are loaded whose hash is right: the row's own, or, to
--   trust nobody who can write to the table, the one given as @ModelSha256. skops and ONNX run no foreign code; a
--   pickle is loaded by a given hash only.
-- * SELECT * handed over types that the server refuses for Python (datetime2, decimal), and made float64 of bigint
--   keys, exact up to 2^53 only. Here the key travels as text, and each feature as float.
-- * Features were three names in the script. They are the model's own now.
-- * The scores went nowhere: a result set of unnamed columns, without version and time. INSERT ... EXECUTE takes no
--   WITH RESULT SETS; the columns of the table it inserts into say the types.

SET QUOTED_IDENTIFIER ON;
GO
CREATE OR ALTER PROCEDURE dbo.usp_PythonMLScoring
    @BatchDate nvarchar(10),
    @ModelName nvarchar(200),
    @InputTable nvarchar(517) = N'dbo.ScoringData',
    @OutputTable nvarchar(517) = N'dbo.Predictions',
    @KeyColumn sysname = N'RecordId',
    @DateColumn sysname = N'batch_date',
    @ModelSha256 varchar(64) = NULL
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;

    DECLARE @Input nvarchar(517), @Output nvarchar(517), @Missing nvarchar(max), @Message nvarchar(2000);
    DECLARE @Model varbinary(max), @Version nvarchar(60), @Hash varchar(64), @Format varchar(20);
    DECLARE @Features nvarchar(max), @Columns nvarchar(max), @Query nvarchar(max), @Statement nvarchar(max);
    DECLARE @Day date = TRY_CONVERT(date, @BatchDate, 23), @Rows bigint, @ScoredAt datetime2(3) = SYSUTCDATETIME();

    IF @Day IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_PythonMLScoring: @BatchDate is ', COALESCE(@BatchDate, N'NULL'),
            N'; expected yyyy-MM-dd.');
        THROW 51016, @Message, 1;
    END;

    SET @Input = QUOTENAME(PARSENAME(@InputTable, 2)) + N'.' + QUOTENAME(PARSENAME(@InputTable, 1));
    SET @Output = QUOTENAME(PARSENAME(@OutputTable, 2)) + N'.' + QUOTENAME(PARSENAME(@OutputTable, 1));

    IF @Input IS NULL OR @Output IS NULL OR PARSENAME(@InputTable, 3) IS NOT NULL
        OR PARSENAME(@OutputTable, 3) IS NOT NULL OR @KeyColumn IS NULL OR @DateColumn IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_PythonMLScoring: @InputTable is ', COALESCE(@InputTable, N'NULL'),
            N', @OutputTable is ', COALESCE(@OutputTable, N'NULL'),
            N'; expected schema.table of this database for both, and the names of two columns.');
        THROW 51010, @Message, 1;
    END;

    IF OBJECT_ID(@Input) IS NULL OR OBJECT_ID(@Output) IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_PythonMLScoring: there is no table or view ',
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
        SET @Message = CONCAT(N'usp_PythonMLScoring: no version of model ', COALESCE(@ModelName, N'NULL'),
            N' is active in dbo.MLModels. Register one: adfml register-model.');
        THROW 51012, @Message, 1;
    END;

    SET @Hash = LOWER(COALESCE(@ModelSha256, @Hash));

    IF LOWER(CONVERT(varchar(64), HASHBYTES('SHA2_256', @Model), 2)) <> @Hash
    BEGIN
        SET @Message = CONCAT(N'usp_PythonMLScoring: the bytes of model ', @ModelName, N' version ', @Version,
            N' do not have the hash ', @Hash, N'. Nothing of it was loaded. Register it again.');
        THROW 51013, @Message, 1;
    END;

    IF @Format NOT IN ('skops', 'onnx', 'pickle') OR (@Format = 'pickle' AND @ModelSha256 IS NULL)
    BEGIN
        SET @Message = CONCAT(N'usp_PythonMLScoring: model ', @ModelName, N' version ', @Version,
            N' is a file of kind ', @Format, N'; expected skops, onnx, or a pickle whose hash is given as ',
            N'@ModelSha256. What rx_serialize_model made is scored by usp_ScoreWithPredict.');
        THROW 51014, @Message, 1;
    END;

    SET @Missing = (
        SELECT STRING_AGG(wanted.name, N', ')
        FROM (
            SELECT @Input AS place, value COLLATE Latin1_General_100_BIN2 AS name FROM OPENJSON(@Features)
            UNION ALL
            SELECT @Input, name COLLATE Latin1_General_100_BIN2 FROM (VALUES (@KeyColumn), (@DateColumn)) AS used (name)
            UNION ALL
            SELECT @Output, name COLLATE Latin1_General_100_BIN2
            FROM (
                VALUES (@KeyColumn), (N'Score'), (N'ModelName'), (N'ModelVersion'), (N'ScoredAt'), (N'BatchDate')
            ) AS written (name)
        ) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM sys.columns AS found
            WHERE found.object_id = OBJECT_ID(wanted.place)
                AND found.name COLLATE Latin1_General_100_BIN2 = wanted.name
        )
    );

    IF @Missing IS NOT NULL
    BEGIN
        SET @Message = LEFT(CONCAT(N'usp_PythonMLScoring: ', @Input, N' and ', @Output, N' lack columns: ', @Missing,
            N'. The input has the key, the date and the features of the model, the output the key, Score, ModelName, ',
            N'ModelVersion, ScoredAt and BatchDate.'), 2000);
        THROW 51011, @Message, 1;
    END;

    SET @Columns = (
        SELECT STRING_AGG(N', CONVERT(float, d.' + QUOTENAME(value) + N') AS ' + QUOTENAME(value), N'')
            WITHIN GROUP (ORDER BY CONVERT(int, [key]))
        FROM OPENJSON(@Features)
    );
    SET @Query = N'SELECT CONVERT(nvarchar(450), d.' + QUOTENAME(@KeyColumn) + N') AS adfml_key' + @Columns
        + N' FROM ' + @Input + N' AS d WHERE CONVERT(date, d.' + QUOTENAME(@DateColumn) + N') = @batch_date';

    CREATE TABLE #adfml_scores (
        RecordId nvarchar(450) COLLATE DATABASE_DEFAULT NULL,
        Score float NOT NULL
    );

    INSERT INTO #adfml_scores (RecordId, Score)
    EXECUTE sp_execute_external_script
        @language = N'Python',
        @script = N'
import hashlib
import json

import numpy
import pandas

if hashlib.sha256(model_bytes).hexdigest() != model_sha256:
    raise ValueError("usp_PythonMLScoring: the model is not what was registered. Nothing of it was loaded.")

names = json.loads(features)
scores = numpy.zeros(0)
if len(InputDataSet) > 0:
    rows = InputDataSet[names].astype("float64")
    if model_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
        taken = session.get_inputs()[0]
        kind = "float64" if taken.type == "tensor(double)" else "float32"
        scores = session.run(None, {taken.name: numpy.ascontiguousarray(rows.values, dtype=kind)})[0]
    elif model_format == "skops":
        from skops import io

        trusted = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
        scores = io.loads(model_bytes, trusted=trusted).predict(rows)
    elif model_format == "pickle":
        import pickle

        scores = pickle.loads(model_bytes).predict(rows)
    else:
        raise ValueError("usp_PythonMLScoring: a model of kind {} cannot be loaded.".format(model_format))
    scores = numpy.asarray(scores, dtype="float64").reshape(-1)
    if len(scores) != len(rows) or not numpy.isfinite(scores).all():
        raise ValueError("usp_PythonMLScoring: the model did not give each row one finite number.")

keys = InputDataSet["adfml_key"] if len(scores) > 0 else []
OutputDataSet = pandas.DataFrame({"key": keys, "score": scores}, columns=["key", "score"])
',
        @input_data_1 = @Query,
        @params = N'@batch_date date, @features nvarchar(max), @model_bytes varbinary(max), @model_format varchar(20),
        @model_sha256 varchar(64)',
        @batch_date = @Day,
        @features = @Features,
        @model_bytes = @Model,
        @model_format = @Format,
        @model_sha256 = @Hash;

    SET @Rows = (SELECT COUNT_BIG(*) FROM #adfml_scores);

    IF EXISTS (SELECT 1 FROM #adfml_scores GROUP BY RecordId HAVING COUNT_BIG(*) > 1 OR RecordId IS NULL)
    BEGIN
        SET @Message = CONCAT(N'usp_PythonMLScoring: keys of ', @Input, N' are NULL or there twice on ', @BatchDate,
            N'. Nothing was written.');
        THROW 51015, @Message, 1;
    END;

    SET @Statement = N'
MERGE ' + @Output + N' WITH (HOLDLOCK) AS target
USING #adfml_scores AS source
ON target.' + QUOTENAME(@KeyColumn) + N' = source.RecordId AND target.ModelName = @ModelName
WHEN MATCHED THEN
    UPDATE SET Score = source.Score, ModelVersion = @Version, ScoredAt = @ScoredAt, BatchDate = @Day
WHEN NOT MATCHED THEN
    INSERT (' + QUOTENAME(@KeyColumn) + N', Score, ModelName, ModelVersion, ScoredAt, BatchDate)
    VALUES (source.RecordId, source.Score, @ModelName, @Version, @ScoredAt, @Day);
';

    BEGIN TRANSACTION;

    EXECUTE sys.sp_executesql
        @Statement,
        N'@ModelName nvarchar(200), @Version nvarchar(60), @ScoredAt datetime2(3), @Day date',
        @ModelName = @ModelName,
        @Version = @Version,
        @ScoredAt = @ScoredAt,
        @Day = @Day;

    COMMIT TRANSACTION;

    SELECT @Rows AS RowsScored, @Version AS ModelVersion;
END;
