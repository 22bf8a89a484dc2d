"""The store on AWS: one DynamoDB table, with large bodies in S3."""

from hut.store.dynamodb.arrays import TableImages
from hut.store.dynamodb.buckets import TableBucket
from hut.store.dynamodb.options import StoreOptions
from hut.store.dynamodb.store import DynamoStore

__all__ = ["DynamoStore", "StoreOptions", "TableBucket", "TableImages"]
