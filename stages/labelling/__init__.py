"""Files that labelling tools read: COCO, CVAT, Label Studio, FiftyOne."""
