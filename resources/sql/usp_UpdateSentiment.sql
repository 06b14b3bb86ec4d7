-- dbo.usp_UpdateSentiment for SQL Server and Azure SQL: writes sentiment scores back, a set a call, for pipelines that
-- go on calling a procedure. The pipeline PL_BatchAIScoring called one of this name once a row, with one of the three
-- confidences; this one takes a table of rows (from a Copy activity: sink `storedProcedureTableTypeParameterName`, from
-- ADO.NET or ODBC: a table-valued parameter).
-- * The rows of dbo.UnprocessedRecords with these ids get sentiment, three confidences and scored = 1, all of them in
--   one statement; a row that is not 0 any more stays as it is, so that a repeated call changes nothing.
-- * Two rows of one id are refused by the type's key, and nothing is written.
-- * A confidence outside 0 to 1, or another sentiment than the service's four, is refused by the type's checks.
-- * Returns how many rows were changed.
-- The project itself needs no procedure: it updates by a staged set in one transaction a page.
-- Put the table and its columns in place of dbo.UnprocessedRecords. Batches are separated by lines of "GO"; running the
-- file again changes nothing but the procedure. The type is made first: a procedure that uses it keeps it from being
-- dropped, so a changed type needs a new name.

IF TYPE_ID(N'dbo.SentimentScores') IS NULL
CREATE TYPE dbo.SentimentScores AS TABLE (
    RecordId bigint NOT NULL PRIMARY KEY,
    Sentiment nvarchar(20) NOT NULL CHECK (Sentiment IN (N'positive', N'neutral', N'negative', N'mixed')),
    ConfidencePositive float NOT NULL CHECK (ConfidencePositive BETWEEN 0 AND 1),
    ConfidenceNeutral float NOT NULL CHECK (ConfidenceNeutral BETWEEN 0 AND 1),
    ConfidenceNegative float NOT NULL CHECK (ConfidenceNegative BETWEEN 0 AND 1)
);
GO
CREATE OR ALTER PROCEDURE dbo.usp_UpdateSentiment
    @Scores dbo.SentimentScores READONLY
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;

    UPDATE records
    SET
        records.Sentiment = scores.Sentiment,
        records.ConfidencePositive = scores.ConfidencePositive,
        records.ConfidenceNeutral = scores.ConfidenceNeutral,
        records.ConfidenceNegative = scores.ConfidenceNegative,
        records.scored = 1
    FROM dbo.UnprocessedRecords AS records
    INNER JOIN @Scores AS scores ON scores.RecordId = records.id
    WHERE records.scored = 0;

    SELECT @@ROWCOUNT AS RowsChanged;
END;
