// Scores two rows over the Open Inference Protocol and prints the predictions.
//
// usage: go run predict.go     FOREBAY_URL (default http://127.0.0.1:8080), FOREBAY_API_KEY if the mesh requires one
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

// Tensor is an input or an output of a model.
type Tensor struct {
	Name     string    `json:"name"`
	Shape    []int     `json:"shape"`
	Datatype string    `json:"datatype"`
	Data     []float64 `json:"data"`
}

// Answer has either outputs or an error.
type Answer struct {
	ModelVersion string   `json:"model_version"`
	Outputs      []Tensor `json:"outputs"`
	Error        string   `json:"error"`
}

func infer(model string, input Tensor) (*Answer, error) {
	url := os.Getenv("FOREBAY_URL")
	if url == "" {
		url = "http://127.0.0.1:8080"
	}
	body, err := json.Marshal(map[string]any{"inputs": []Tensor{input}})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodPost, url+"/v2/models/"+model+"/infer", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if key := os.Getenv("FOREBAY_API_KEY"); key != "" {
		request.Header.Set("X-API-Key", key)
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer Answer
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, answer.Error)
	}
	return &answer, nil
}

func main() {
	row := []float64{0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018}
	rows := Tensor{Name: "input-0", Shape: []int{2, 10}, Datatype: "FP64", Data: append(row, row...)}
	answer, err := infer("diabetes-rf-model", rows)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Outputs[0].Data)
}
