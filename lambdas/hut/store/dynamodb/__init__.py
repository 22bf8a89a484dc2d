"""The store on AWS: one DynamoDB table, with large bodies in S3."""

from hut.store.dynamodb.store import DynamoStore, StoreOptions

__all__ = ["DynamoStore", "StoreOptions"]
