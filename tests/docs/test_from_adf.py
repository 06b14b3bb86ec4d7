"""docs/from-adf.md has a place for everything of the patterns; a link to code leads to code that is there."""

from __future__ import annotations

import re

import pytest

from tests.docs.error_classes import ROOT

PAGE = (ROOT / "docs/from-adf.md").read_text()
CELLS = [cell for line in PAGE.splitlines() if line.startswith("| ") for cell in line.strip("|").split(" | ")]
NAMED = {word for cell in CELLS for code in re.findall(r"`([^`]+)`", cell) for word in re.findall(r"\w+", code)}
PLAIN = {word for cell in CELLS for word in re.findall(r"\w+", cell)}

PIPELINES = """
PL_SqlArchive_ForAnalysis PL_IncrementalArchive PL_BatchAIScoring PL_ML_Training_Databricks PL_ML_Scoring_Databricks
DF_FeatureEngineering PL_EndToEnd_ML_Workflow
"""
ACTIVITIES = """
GetTablesToArchive ForEach_ArchiveTable ArchiveTableToParquet LogArchiveCompletion GetLastWatermark
GetCurrentWatermark CopyIncrementalToStorage UpdateWatermark RunFeatureEngineering EngineerFeatures
ArchiveTrainingData RunMLTraining LogTrainingResult ExtractScoringData RunBatchScoring LoadScoresBackToSql
ArchiveSourceData SwitchTrainOrScore RunTraining RunScoring
FailInvalidMode RunMLTrainingPipeline InvokeBatchEndpoint WaitForBatchJob CheckJobStatus SetJobStatus
WaitBeforeCheck ScoreRecord InDatabaseMLScoring RunPythonInSql GetRecordBatches ForEach_ScoreBatch CallAIService
AnalyzeSentiment WriteScoreBack LookupFeedback ReadBatchFile UploadBatchInput CreateBatchJob WaitForBatchCompletion
CheckBatchStatus SetBatchStatus WaitBeforePoll DetectAnomalies LookupTimeSeries LookupValues GetApiKey GetOpenAIKey
GetAnomalyKey
"""
KINDS = """
Copy Lookup ForEach Until Wait SetVariable WebActivity SqlServerStoredProcedure AzureMLExecutePipeline DatabricksJob
ExecuteDataFlow ExecutePipeline Switch Fail
"""
PARAMETERS = """
SourceDatabase LoggingEndpoint TableName SchemaName FolderPath FileName ModelName ModelVersion TrainingJobId
ScoringJobId DatabricksJobId StorageAccount StartDate EndDate Hyperparameters Mode InputDataPath
OutputModelPath DataPath InputContainer InputPath OutputContainer InputTable OutputTable BatchDate AIEndpoint
AIKey CognitiveServicesEndpoint OpenAIEndpoint AnomalyDetectorEndpoint ModelId
KeyVaultName SecretName WindowDays MinTransactions NewWatermark RecordId
Sentiment ConfidencePositive training_data_path model_name model_version experiment_name hyperparams input_path
output_path model_stage input_data output_model learning_rate epochs JobStatus BatchStatus
"""
SETTINGS = """
dependsOn dependencyConditions timeout retry retryIntervalInSeconds isSequential batchCount firstRowOnly enableStaging
parallelCopies dataIntegrationUnits writeBehavior upsertSettings useTempDB keys writeBatchSize storeSettings
formatSettings recursive wildcardFileName authentication MSI resource headers method body url waitOnCompletion
waitTimeInSeconds errorCode message compressionCodec coreCount computeType staging mlPipelineId experimentName
mlPipelineParameters dataPathAssignments mlParentRunId continueOnStepFailure mlPipelineRunId InputData OutputData
JobInputType JobOutputType topContributorCount completion_window input_file_id runId runPageUrl tablesArchived
archivePath fileSystem subscriptionId resourceGroupName mlWorkspaceName
"""
LINKED = """
LS_AzureML_Workspace LS_AzureSql LS_SqlManagedInstance LS_AzureSql_Control LS_ADLS_ML LS_Databricks_Serverless
LS_AzureBlobStorage DS_AzureSql_Source DS_AzureSql_Parameterized DS_Blob_Parquet_Partitioned DS_AzureSql_Control
DS_ADLS_Parquet_ML DS_AzureSql DS_Blob_Parquet DS_AzureSql_Predictions
"""
EXPRESSIONS = (
    "pipeline activity item variables utcnow formatDateTime concat equals or dataset RunId firstRow value count"
)
TABLES = """
ArchiveWatermark MLModels TrainingFeatures ScoringFeatures ScoringData UnprocessedRecords usp_UpdateWatermark
usp_ScoreWithPredict usp_PythonMLScoring usp_UpdateSentiment
"""
TRIGGERS = "ScheduleTrigger TumblingWindowTrigger BlobEventsTrigger CustomEventsTrigger"


@pytest.mark.parametrize(
    "names",
    [PIPELINES, ACTIVITIES, PARAMETERS, SETTINGS, LINKED, EXPRESSIONS, TABLES],
    ids=["pipelines", "activities", "parameters", "settings", "linked", "expressions", "tables"],
)
def test_every_name_of_the_patterns_has_its_place(names: str) -> None:
    assert sorted(set(names.split()) - NAMED) == []


@pytest.mark.parametrize("names", [KINDS, TRIGGERS], ids=["kinds", "triggers"])
def test_every_kind_has_its_place(names: str) -> None:
    assert sorted(set(names.split()) - PLAIN) == []


def test_every_pipeline_of_this_deployment_says_where_it_comes_from() -> None:
    folders = {path.parent.name for path in (ROOT / "adfml_assets/defs").glob("*/defs.yaml")}
    assert (
        sorted(name for name in folders if f"/defs/{name}/defs.yaml" not in PAGE and name != "PL_DetectAnomalies") == []
    )


def test_every_component_is_the_place_of_something() -> None:
    from adfml_assets import components

    for name in components.__all__:
        assert f"`{name}`" in PAGE, name
