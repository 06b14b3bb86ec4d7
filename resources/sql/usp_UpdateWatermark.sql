-- dbo.usp_UpdateWatermark for SQL Server and Azure SQL: what an ADF pipeline calls after it has copied an increment,
-- with the parameters it always had. It appends the interval from the table's last upper watermark to @NewWatermark.
-- * A watermark equal to the last one appends nothing, so that a repeated call is harmless; NULL (the source is empty)
--   appends nothing either.
-- * A smaller one is refused (51001), so is a table that is not followed by a timestamp (51002) and an empty name (51000).
-- * The row gets today's (UTC) partition key; where today has its row already, 'adf-<SequenceNumber>'. Rows of the
--   latter kind are in the caller's files only: the project has no partition of that name, and goes on after them.
-- One serializable transaction: the range of the table's rows is locked from the first read on, so two callers cannot
-- take the same lower end.

CREATE OR ALTER PROCEDURE dbo.usp_UpdateWatermark
    @TableName nvarchar(300),
    @NewWatermark datetime2(7),
    @RunId varchar(64) = 'azure-data-factory'
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;

    DECLARE @LastSequence int, @LastKind varchar(20), @LastText varchar(64), @LastTimestamp datetime2(7);
    DECLARE @LastEnd datetime2(7), @Sequence int, @Key varchar(20), @Message nvarchar(2000);

    IF @TableName IS NULL OR @TableName = N''
    BEGIN
        SET @Message = N'usp_UpdateWatermark: @TableName is empty; expected database.schema.table.';
        THROW 51000, @Message, 1;
    END;

    IF @NewWatermark IS NULL
    BEGIN
        RETURN;
    END;

    BEGIN TRANSACTION;

    SELECT TOP (1)
        @LastSequence = SequenceNumber,
        @LastKind = WatermarkKind,
        @LastText = UpperWatermark,
        @LastTimestamp = ArchiveTimestamp
    FROM dbo.ArchiveWatermark WITH (UPDLOCK, HOLDLOCK)
    WHERE TableName = @TableName
    ORDER BY SequenceNumber DESC;

    IF @LastKind <> 'datetime'
    BEGIN
        SET @Message = CONCAT(N'usp_UpdateWatermark: ', @TableName, N' is followed by a watermark of kind ', @LastKind,
            N'; expected datetime.');
        THROW 51002, @Message, 1;
    END;

    -- The text is exact; ArchiveTimestamp may have been cut to microseconds by who wrote it.
    SET @LastEnd = COALESCE(TRY_CONVERT(datetime2(7), REPLACE(@LastText, 'T', ' '), 121), @LastTimestamp);

    IF @LastText IS NOT NULL AND @LastEnd IS NULL
    BEGIN
        SET @Message = CONCAT(N'usp_UpdateWatermark: the last watermark of ', @TableName, N', ', @LastText,
            N', is no timestamp. Nothing was recorded.');
        THROW 51002, @Message, 1;
    END;

    IF @NewWatermark < @LastEnd
    BEGIN
        SET @Message = CONCAT(N'usp_UpdateWatermark: the watermark of ', @TableName, N' would go back from ',
            CONVERT(varchar(27), @LastEnd, 121), N' to ', CONVERT(varchar(27), @NewWatermark, 121),
            N'. Nothing was recorded.');
        THROW 51001, @Message, 1;
    END;

    IF @LastEnd IS NULL OR @NewWatermark > @LastEnd
    BEGIN
        SET @Sequence = COALESCE(@LastSequence + 1, 0);
        SET @Key = CONVERT(varchar(10), SYSUTCDATETIME(), 23);

        IF EXISTS (SELECT 1 FROM dbo.ArchiveWatermark WHERE TableName = @TableName AND PartitionKey = @Key)
        BEGIN
            SET @Key = CONCAT('adf-', @Sequence);
        END;

        INSERT INTO dbo.ArchiveWatermark (
            TableName, PartitionKey, SequenceNumber, LowerWatermark, UpperWatermark, WatermarkKind,
            ArchiveTimestamp, RecordedAt, RunId
        ) VALUES (
            @TableName, @Key, @Sequence, @LastText, CONVERT(varchar(27), @NewWatermark, 121), 'datetime',
            @NewWatermark, SYSUTCDATETIME(), @RunId
        );
    END;

    COMMIT TRANSACTION;
END;
